"""Data adapters: sources read files, targets write training formats, `convert` goes from one to the other."""
