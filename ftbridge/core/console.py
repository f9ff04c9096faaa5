"""Words to the person at the keyboard: progress and messages go to stderr, results to stdout.

Whatever a file brings in, a terminal shows it and does not obey it.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

# Control characters other than tab and newline, and those that turn the direction of text.
_obeyed = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(message: str = "") -> None:
    """Print a message to stderr; what the terminal cannot show is escaped, never a crash."""
    _write(sys.stderr, message)


def result(text: str, *, coloured: bool = False) -> None:
    """Print a result to stdout; one that is `coloured` holds colours of ours, and nothing else that is obeyed."""
    _write(sys.stdout, text, coloured=coloured)


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON to stdout, all in ASCII where the encoding of stdout cannot hold it; NaN is null."""
    import json

    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=indent).decode()
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=indent or None)
    result(text)


def piece(text: str) -> None:
    """Print a part of a result to stdout at once, without a line's end; a terminal gets what `printable` leaves."""
    _write(sys.stdout, printable(text, keep="\n\t") if sys.stdout.isatty() else text, end="")


def printable(text: str, keep: str = "") -> str:
    """Return `text` with what a terminal would obey, not show, as escapes."""
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def some(names: Sequence[str], most: int) -> str:
    """Return the first names, `most` of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells each as a table whose columns are aligned, wide characters counted as two."""
    from rich.cells import cell_len

    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _write(stream: TextIO, text: str, end: str = "\n", *, coloured: bool = False) -> None:
    if stream.isatty() and not coloured:
        text = _obeyed.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    stream.flush()
