"""To come."""

from pathlib import Path


def detect(path: Path, head: bytes) -> bool:
    """Read nothing yet."""
    return False
