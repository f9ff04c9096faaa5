"""Rows to encoded samples, in one process or in several."""
