"""Base and adapter into one model."""
