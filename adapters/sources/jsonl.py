"""JSON lines: one object a line, `{"instruction": "...", "output": "..."}`; blank lines are no rows."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.plugins import Table
from ftbridge.core.records import Row, Where

SUFFIXES = {".json", ".jsonl", ".ndjson"}
# Columns are the keys of this many first rows; a known column that comes later is an error of its row.
PEEK = 10_000


def detect(path: Path, head: bytes) -> bool:
    """Tell whether this is a JSON file that does not begin as an array."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return path.suffix.lower() in SUFFIXES and start != b"["


def open_table(path: Path, sheet: str | None) -> Table:
    """Open the file; raises InputError where no line of it is a JSON object."""
    if sheet:
        raise InputError(f"`{path}` is JSON and has no sheets; leave `--sheet` out")
    return peeked(path, _rows(path))


def peeked(path: Path, rows: Iterator[Row]) -> Table:
    """Return the table of `rows`, its columns the keys of the first ones in order of appearance."""
    first = list(islice(rows, PEEK))
    columns = dict.fromkeys(key for row in first for key in row.values)
    if not columns:
        reason = f": {first[0].where.cell('')} {first[0].error}" if first else "; it is empty"
        raise InputError(f"`{path}` holds no JSON object{reason}")
    return Table(tuple(columns), chain(first, rows))


def _rows(path: Path) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict).decode
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_without_bom(file), 1):
                try:
                    values, error = decode(line), ""
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
                    if not line.strip():
                        continue
                    values, error = {}, f"is no JSON object: {broken}"
                if not values and not error:
                    error = "is an object without values"
                yield Row(Where(path.name, number), values, error)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}") from error


def _without_bom(lines: Iterable[bytes]) -> Iterator[bytes]:
    lines = iter(lines)
    for line in islice(lines, 1):
        yield line.removeprefix(b"\xef\xbb\xbf")
    yield from lines
