"""Words to the person at the keyboard: progress and messages go to stderr, results to stdout."""

import sys
from collections.abc import Sequence
from typing import TextIO


def say(message: str = "") -> None:
    """Print a message to stderr; what the terminal cannot show is escaped, never a crash."""
    _write(sys.stderr, message)


def result(text: str) -> None:
    """Print a result to stdout."""
    _write(sys.stdout, text)


def piece(text: str) -> None:
    """Print a part of a result to stdout at once, without a line's end; a terminal gets what `printable` leaves."""
    _write(sys.stdout, printable(text, keep="\n\t") if sys.stdout.isatty() else text, end="")


def printable(text: str, keep: str = "") -> str:
    """Return `text` with what a terminal would obey, not show, as escapes."""
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells each as a table whose columns are aligned, wide characters counted as two."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _write(stream: TextIO, text: str, end: str = "\n") -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    stream.flush()
