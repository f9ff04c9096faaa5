"""Experiments: sweeps over options, and recipes from raw data to a report; what is done once is not done again."""
