"""Plugins for ftbridge: a source, a target, a preset and a model family."""
