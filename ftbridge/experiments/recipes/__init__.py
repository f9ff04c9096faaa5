"""Recipes: a whole experiment in one file, from raw data to a report."""
