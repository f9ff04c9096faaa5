"""Rows to conversations: which columns are which fields, and how they are found."""
