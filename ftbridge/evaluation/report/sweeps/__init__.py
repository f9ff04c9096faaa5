"""What a report tells of a sweep."""
