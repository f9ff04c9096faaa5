"""Processes that end with us."""
