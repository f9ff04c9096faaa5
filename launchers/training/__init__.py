"""A training, from its options to its end."""
