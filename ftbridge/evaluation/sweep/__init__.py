"""What a sweep has found: its record, and a row for each of its settings."""
