"""The machine: its GPUs, its memory and processor, and what of it a command computes on."""
