"""Tensors in files, read and written without torch."""
