"""Folders of files and datasets of a hub."""
