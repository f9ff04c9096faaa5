"""Conversations as datasets write them: formats, roles, flags of messages."""
