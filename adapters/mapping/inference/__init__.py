"""The mapping of a table, inferred from its headers and first rows."""
