"""Checkpoint, adapter, merged model."""
