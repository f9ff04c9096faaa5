"""Data adapters: sources read files, targets write training formats, and `convert` goes from one to the other."""
