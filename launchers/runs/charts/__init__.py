"""Losses and lengths as text for a terminal, and as pictures."""
