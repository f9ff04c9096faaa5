"""JSON arrays: `[{"instruction": "...", "output": "..."}, ...]`, by content, whatever the file is called.

Elements are decoded one by one from a window of the text, so that a file of any size needs little memory.
"""

import io
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from ftbridge.adapters.sources.jsonl import BOM, PEEK, peeked, refuse_sheets
from ftbridge.core.errors import InputError
from ftbridge.core.files import unpacked
from ftbridge.core.plugins import Reading, Rows, Table
from ftbridge.core.records import Row, Where

WINDOW = 1 << 20
BLANK = " \t\r\n"


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the text begins as a JSON array."""
    del path
    return head.removeprefix(BOM).lstrip()[:1] == b"["


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the array; raises InputError where the text is not one, naming the element that is broken."""
    refuse_sheets(path, reading)
    rows = _rows(path)
    first = list(islice(rows, PEEK))
    return [peeked(path, first, [Rows(chain(first, rows))], cut=False)]


def _rows(path: Path) -> Iterator[Row]:
    for number, value in enumerate(_elements(path), 1):
        where = Where(path.name, number, unit="element")
        if isinstance(value, dict) and value:
            yield Row(where, value)
        else:
            yield Row(where, {}, error=f"is {json.dumps(value)[:40]}, not an object with values")


def _elements(path: Path) -> Iterator[Any]:
    """Yield the elements of the array, keeping one window of the text in memory."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    number = 0
    try:
        with unpacked(path) as packed, io.TextIOWrapper(packed, encoding="utf-8-sig") as file:
            window = _Window(file)
            window.expect("[")
            if window.take("]"):
                return window.end()
            while True:
                number += 1
                yield window.value(decoder)
                if window.take("]"):
                    return window.end()
                window.expect(",")
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not UTF-8 ({error}); save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"`{path}` is no valid JSON array: {reason}, at element {number}") from error


class _Window:
    """A piece of the text, and the place in it that comes next."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.text = ""
        self.at = 0

    def more(self, size: int = WINDOW) -> bool:
        """Read on, and drop what is behind."""
        piece = self.file.read(size)
        self.text = self.text[self.at :] + piece
        self.at = 0
        return bool(piece)

    def peek(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        while True:
            while self.at < len(self.text):
                if (char := self.text[self.at]) not in BLANK:
                    return char
                self.at += 1
            if not self.more():
                return ""

    def take(self, char: str) -> bool:
        """Step over `char` if it comes next."""
        found = self.peek() == char
        self.at += found
        return found

    def expect(self, char: str) -> None:
        """Step over `char`, which must come next."""
        if not self.take(char):
            raise ValueError(f"`{char}` is missing before `{self.text[self.at :][:20]}`")

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise ValueError(f"`{self.text[self.at :][:20]}` follows the end of the array")

    def value(self, decoder: json.JSONDecoder) -> Any:
        """Decode the value that comes next, reading on while the window ends within it."""
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # A fault well before the window's end, other than an open string, is no matter of reading on.
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - 16
                if not cut or not self.more(max(WINDOW, len(self.text))):
                    raise ValueError(error.msg) from error
            else:
                # At the very end of the window a number may go on.
                if end == len(self.text) and self.more():
                    continue
                self.at = min(end, len(self.text))
                return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is not JSON")
