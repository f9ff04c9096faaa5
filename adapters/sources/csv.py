"""Delimited text, CSV and TSV: all cells are text just as they stand, `007`, `NA` and empty ones included.

Encoding, delimiter and quotes are found and told. The first record, or the first one with recognised headers
among the first 20, holds the headers. Records are counted from 1, headers and empty lines included: without
newlines in cells, record and line are the same.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from ftbridge.adapters.columns import unique_headers
from ftbridge.adapters.dialects import HEADERS_WITHIN, Dialect, find_dialect, is_delimited
from ftbridge.adapters.encodings import Text, as_utf8, find_encoding
from ftbridge.adapters.headers import fits
from ftbridge.adapters.sources import jsonl
from ftbridge.core.errors import InputError
from ftbridge.core.files import LONGEST, unpacked_name
from ftbridge.core.plugins import Reading, Rows, Table, first_rows
from ftbridge.core.records import Row, Where

SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
TABBED = {".tsv", ".tab"}
BEGINS_AS_JSON = re.compile(rb'\s*(\[\s*[\[{]|\{\s*["}])')
CONTROLS = bytes({*range(32)} - {*b"\t\n\f\r\x1a\x1b"})
SAMPLE = 128 << 10


def detect(path: Path, head: bytes) -> bool:
    """Tell whether this is called CSV or TSV, or is plainly a table; JSON is not, whatever its name."""
    start = as_utf8(head)
    controls = len(start) - len(start.translate(None, CONTROLS))
    if path.is_dir() or BEGINS_AS_JSON.match(start) or controls > max(2, len(start) // 20):
        return False
    suffix = unpacked_name(path).suffix.lower()
    lines = list(io.StringIO(start.decode("latin-1"), newline=""))
    return suffix in SUFFIXES or (suffix not in jsonl.SUFFIXES and is_delimited(lines))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the table; raises InputError where it is empty or too damaged, UsageError for an unknown encoding."""
    reading.refuse_sheets(path, "delimited text")
    encoding = find_encoding(path, reading.encoding)
    lines, cut = _beginning(path, encoding.codec)
    tried = lines[max(0, (reading.header_row or 1) - 1) :]
    dialect = find_dialect(tried, first="\t" if unpacked_name(path).suffix.lower() in TABBED else ",", cut=cut)
    records = list(islice(dialect.records(lines), max(HEADERS_WITHIN, reading.header_row or 0)))
    start, columns = _headers(path, records, reading.header_row)
    rows = _rows(path, encoding.codec, dialect, start, columns)
    first = first_rows(rows)
    found = f"headers in record {start}" if start > 1 and reading.header_row is None else ""
    notes = filter(None, [", ".join(filter(None, (encoding.note, dialect.note, found)))])
    return [Table(file=path.name, columns=columns, pieces=[Rows(chain(first, rows))], first=first, notes=tuple(notes))]


def _beginning(path: Path, codec: str) -> tuple[list[str], bool]:
    """Return some first lines, and whether more follow."""
    lines, size = [], 0
    for line in _Lines(path, Text(path, codec)):
        lines.append(line)
        size += len(line)
        if size > SAMPLE:
            return lines, True
    return lines, False


def _headers(path: Path, records: list[list[str] | None], asked: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the number of the record with the headers, 0 for none, and the columns."""
    filled = {number: cells for number, cells in enumerate(records, 1) if cells and any(map(str.strip, cells))}
    if (filled.get(1) or [""])[0] == "sep=":  # how Excel is told the delimiter
        del filled[1]
    if asked and asked not in filled:
        raise InputError(f"`{path}` has no headers in record {asked}; give another `--header-row`")
    if not filled:
        raise InputError(f"`{path}` holds no records")
    known = [number for number, cells in filled.items() if fits(cells)]
    number = (known or [*filled])[0] if asked is None else asked
    if not number:
        return 0, tuple(str(at) for at in range(1, len(next(iter(filled.values()))) + 1))
    try:
        return number, unique_headers(filled[number])
    except InputError as error:
        raise InputError(f"`{path}` cannot be used: {error}") from error


class _Lines:
    """The lines of a text, their ends included; `record` is the number of the last record made of them."""

    def __init__(self, path: Path, text: Text) -> None:
        self._path = path
        self._text = text
        self.record = 0

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[io.StringIO]:
        rest, record, size = "", 0, 0
        for piece in self._text:
            text = rest + piece
            end = text.rfind("\n") + 1 or text.rfind("\r", 0, -1) + 1
            rest = text[end:]
            size = size + end if record == self.record else end
            record = self.record
            if size + len(rest) > LONGEST:
                raise InputError(
                    f"`{self._path}` is no table: around record {record + 1} it goes on for more than {LONGEST >> 20} "
                    "million characters without the end of a record; look for a quote that is never closed"
                )
            yield io.StringIO(text[:end], newline="")
        yield io.StringIO(rest, newline="")


def _rows(path: Path, codec: str, dialect: Dialect, start: int, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the records after `start`."""
    file, width = path.name, len(columns)
    text = Text(path, codec)
    lines = _Lines(path, text)
    reader = dialect.reader(lines)
    while True:
        line = reader.line_num + 1
        try:
            for cells in reader:
                number = lines.record = lines.record + 1
                if number > start:
                    where = Where(file, number, "", "record")
                    if len(cells) == width and cells[0] and not text.damaged:
                        yield Row(where, dict(zip(columns, cells, strict=False)))
                    else:
                        yield _odd_row(where, cells, columns, f"line {line}", codec)
                line = reader.line_num + 1
        except csv.Error:
            lines.record += 1
            span = f"lines {line} to {reader.line_num}" if line < reader.line_num else f"line {line}"
            if lines.record > start:
                error = f"holds a quote that is not closed, or not doubled, in {span}"
                yield Row(Where(file, lines.record, "", "record"), {}, error)
        else:
            return


def _odd_row(where: Where, cells: list[str], columns: tuple[str, ...], line: str, codec: str) -> Row:
    """Return the row of a record that is empty, or has another number of cells, or may hold broken text."""
    width, error = len(columns), ""
    if not any(cells):
        return Row(where, {})
    if len(cells) < width or any(cells[width:]):
        error = f"has {len(cells)} cells, not {width} as the headers say, in {line}"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        error = f"holds bytes that are not {codec}, in {line}"
    more = (str(at) for at in range(width + 1, len(cells) + 1)) if error else ()
    return Row(where, dict(zip((*columns, *more), cells, strict=False)), error)
