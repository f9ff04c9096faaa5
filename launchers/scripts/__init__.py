"""Scripts that run inside the training environment: none imports ftbridge, each takes a JSON spec."""
