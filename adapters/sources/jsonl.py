"""JSON lines: one object a line, `{"instruction": "...", "output": "..."}`; blank lines are empty rows.

A file is cut at line ends, so that several processes can read it. Values stay as they stand in the file
(`msgspec.Raw`) wherever that is how msgspec would write them: most text is then never decoded.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import is_packed, unpacked
from ftbridge.core.plugins import Piece, Reading, Table
from ftbridge.core.records import Row, Where

# Columns are the keys of this many first rows; a known column that comes later is an error of its row.
PEEK = 10_000
FIRST = 100
BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_plain = msgspec.json.Decoder(dict).decode


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the content begins as a JSON object."""
    del path
    return head.removeprefix(BOM).lstrip()[:1] == b"{"


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the file; raises InputError where no line of it is a JSON object."""
    refuse_sheets(path, reading)
    first = list(islice(chain.from_iterable(piece.rows() for piece in _pieces(path)), PEEK))
    return [peeked(path, first, _pieces(path), cut=True)]


def refuse_sheets(path: Path, reading: Reading) -> None:
    """Raise InputError where `reading` asks for what JSON does not have."""
    if reading.sheets:
        raise InputError(f"`{path}` is JSON and has no sheets; leave `--sheet` out")


def peeked(path: Path, first: list[Row], pieces: Iterable[Piece], *, cut: bool) -> Table:
    """Return the table, its columns the keys of the `first` rows in order of appearance."""
    columns = dict.fromkeys(key for row in first for key in row.values)
    if not columns:
        broken = next((row for row in first if row.error), None)
        reason = f": {broken.where.cell('')} {broken.error}" if broken else "; it is empty"
        raise InputError(f"`{path}` holds no JSON object{reason}")
    return Table(file=path.name, columns=tuple(columns), pieces=pieces, first=tuple(first[:FIRST]), cut=cut)


class Lines(msgspec.Struct, frozen=True):
    """Some lines: bytes `start` to `end` of a file, or `data` where the file is packed."""

    path: Path
    start: int = 0
    end: int = 0
    data: bytes | None = None

    def rows(self) -> Iterator[Row]:
        """Yield a row a line."""
        data = self.data
        if data is None:
            with self.path.open("rb") as file:
                file.seek(self.start)
                data = file.read(self.end - self.start)
        if not self.start:
            data = data.removeprefix(BOM)
        try:
            data.decode()
            valid = True
        except UnicodeDecodeError:
            valid = False
        name = self.path.name
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
            error = ""
            values: dict[str, Any] = {}
            try:
                if not valid:
                    line.decode()
                values = (_plain if b"\\u" in line or b"\\/" in line else _raw)(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
                if line.strip():
                    error = f"is no JSON object: {broken}"
            else:
                error = "" if values else "is an object without values"
            yield Row(Where(name, number), values, error)


def _pieces(path: Path) -> Iterator[Lines]:
    """Yield the file in pieces of whole lines, of about a MiB each."""
    try:
        packed = is_packed(path)
        with unpacked(path) as file:
            start, size = 0, 0 if packed else os.fstat(file.fileno()).st_size
            if packed:
                rest = b""
                while data := file.read(BLOCK):
                    lines, newline, after = data.rpartition(b"\n")
                    if newline:
                        yield Lines(path, start, 0, rest + lines + newline)
                        start, rest = 1, b""
                    rest += after
                if rest:
                    yield Lines(path, start, 0, rest)
            while start < size and not packed:
                file.seek(min(start + BLOCK, size))
                file.readline()
                end = file.tell()
                yield Lines(path, start, end)
                start = end
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
