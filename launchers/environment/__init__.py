"""The training environments, and the machine that they run on."""
