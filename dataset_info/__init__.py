"""The registry of datasets, and what is known about well-known ones."""
