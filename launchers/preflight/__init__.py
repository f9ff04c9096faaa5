"""Checks of a training before it starts: model, data, options, memory and disk."""
