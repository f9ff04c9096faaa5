"""Files: written whole, locked, signed, and owned."""
