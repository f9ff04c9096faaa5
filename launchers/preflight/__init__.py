"""What would keep a training from its end, looked for before it starts."""
