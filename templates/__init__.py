"""Jinja templates by framework, DeepSpeed configs, and what is known about model families."""
