"""What starts processes: the environment, the two backends, runs."""
