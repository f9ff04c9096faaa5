"""Sweeps: the same training with other options, evaluated on the same questions."""
