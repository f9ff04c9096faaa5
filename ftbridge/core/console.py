"""Words to the person at the keyboard: progress and messages go to stderr, results to stdout."""

import sys
from typing import TextIO


def say(message: str = "") -> None:
    """Print a message to stderr; what the terminal cannot show is escaped, never a crash."""
    _write(sys.stderr, message)


def result(text: str) -> None:
    """Print a result to stdout."""
    _write(sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
