"""Delimited text, JSON and JSON lines."""
