"""Delimited text, CSV and TSV: all cells are text just as they stand, `007`, `NA` and empty ones included.

Encoding, delimiter and quotes are found and told. The first record, or the first one with recognised headers
among the first 20, holds the headers. Records are counted from 1, headers and empty lines included: without
newlines in cells, record and line are the same. A quote that is not closed costs its line: reading goes on behind it.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import msgspec

from ftbridge.adapters.columns import unique_headers
from ftbridge.adapters.mapping.header_rows import (
    HEADERS_TO,
    UNSURE,
    FirstRows,
    HeaderFindings,
    is_rule,
    suspicious_cells,
    why_no_sample,
)
from ftbridge.adapters.mapping.headers import has_question_and_answer
from ftbridge.adapters.sources.compression import unpacked_name
from ftbridge.adapters.sources.text import jsonl
from ftbridge.adapters.sources.text.csv_dialect import ALIKE, HEADERS_WITHIN, Dialect, find_dialect, is_delimited
from ftbridge.adapters.sources.text.encoding import Text, as_utf8, find_encoding
from ftbridge.adapters.values import shorten
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.records import FIRST, Reading, Row, Rows, Table, Where, first_rows

SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
TABBED = {".tsv", ".tab"}
BEGINS_AS_JSON = re.compile(rb'\s*(\[\s*[\[{]|\{\s*["}])')
CONTROLS = bytes({*range(32)} - {*b"\t\n\f\r\x1a\x1b"})
TOLD = re.compile(r"sep=.\r?\n?")  # how Excel is told the delimiter
SAMPLE = 128 << 10
# A record of more lines is none: a text that can be trained on has no more characters.
MOST_LINES = 1_000_000


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
    dialect = find_dialect(
        lines[max(0, (reading.header_row or 1) - 1) :],
        first="\t" if unpacked_name(path).suffix.lower() in TABBED else ",",
        cut=cut,
        delimiter=reading.separator,
        quote=reading.quoting,
    )
    read = islice(dialect.records(lines, cut=cut), FIRST + (reading.header_row or HEADERS_WITHIN))
    records = [[cell.strip() for cell in record or ()] for record in read]
    told = TOLD.fullmatch(lines[0] if lines else "") is not None
    if told:
        records[0] = []
    at, columns = _headers(path, records, reading.header_row)
    found = HeaderFindings(int(told))
    if at is not None:
        sheet = FirstRows(path.name, "record", records, doubt=UNSURE)
        found = sheet.examine_headers(at, columns, requested=reading.header_row is not None)
    labels = {cells[-1] for cells in records if cells}
    headed = at is not None
    parsed = _Records(
        path, encoding.codec, dialect, columns, labels, headed, suspicious_cells(columns if headed else ())
    )
    rows = parsed.rows()
    begin = next((row for row in rows if row.where.row > found.start), None)
    first = first_rows(chain(filter(None, [begin]), rows))
    below = f"headers in record {at + 1}" if at and reading.header_row is None else ""
    how = ", ".join(filter(None, (encoding.note, dialect.note, below)))
    return [
        Table(
            file=path.name,
            columns=columns,
            pieces=[Rows(chain(first, rows))],
            first=first,
            notes=tuple(filter(None, (how, *found.notes))),
            asks=found.asks,
            unsure=found.unsure,
        )
    ]


def _beginning(path: Path, codec: str) -> tuple[list[str], bool]:
    """Return some first lines, and whether more follow."""
    lines: list[str] = []
    size = 0
    for batch in _batches(path, codec):
        for line in io.StringIO(batch.text, newline=""):
            lines.append(line)
            size += len(line)
            if size > SAMPLE:
                return lines, True
    return lines, False


def _headers(path: Path, records: list[list[str]], asked: int | None) -> tuple[int | None, tuple[str, ...]]:
    """Return which of the records holds the headers, None for none, and the columns."""
    filled = [number for number, cells in enumerate(records) if any(cells) and not is_rule(cells)]
    if asked and asked - 1 not in filled:
        raise InputError(f"`{path}` has no headers in record {asked}; give another `--header-row`")
    if not filled:
        raise InputError(f"`{path}` holds no records")
    if asked == 0:
        return None, tuple(str(at) for at in range(1, len(records[filled[0]]) + 1))
    known = (number for number in filled if number < HEADERS_WITHIN and has_question_and_answer(records[number]))
    number = next(known, filled[0]) if asked is None else asked - 1
    try:
        return number, unique_headers(records[number])
    except InputError as error:
        raise InputError(f"`{path}` cannot be used: {error}") from error


class _Batch(msgspec.Struct, frozen=True):
    """Whole lines of a text; `odd` tells that there are marks for what is no value, or broken bytes."""

    text: str
    odd: bool
    last: bool


def _batches(path: Path, codec: str, dialect: Dialect | None = None) -> Iterator[_Batch]:
    """Yield a text in batches of about 128 KiB, with what is no value marked as the dialect has it.

    Raises InputError where a line is too long.
    """
    source, rest = Text(path, codec), ""
    for piece in chain(source, [None]):
        rest += piece or ""
        end = len(rest) if piece is None else rest.rfind("\n") + 1 or rest.rfind("\r", 0, -1) + 1
        text, rest = rest[:end], rest[end:]
        if len(rest) > LONGEST:
            raise InputError(
                f"`{path}` is no table: the line that begins with `{shorten(rest[:SAMPLE])}` goes on for more than "
                f"{LONGEST >> 20} million characters"
            )
        marked = dialect.with_nulls(text) if dialect else text
        yield _Batch(marked, source.damaged or marked is not text, last=piece is None)


class _Pending:
    """Lines that are not through yet: `before` is the number of those before them, `number` that of the last record.

    `odd` is as in a batch; `more` tells that lines must be added before there is another record.
    """

    def __init__(self) -> None:
        self.before = self.number = self._enough = 0
        self.odd = self.last = self.more = False
        self._text = ""
        self._lines: list[str] = []  # a text is cut into lines where that is needed

    def add(self, batch: _Batch) -> None:
        """Add lines; a record that takes many is tried again only when they are twice as many."""
        self.odd = batch.odd or (self.odd and self._text != "")
        self.last = batch.last
        self._text += batch.text
        self.more = not self.last and len(self._text) < self._enough

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines) if self._lines else io.StringIO(self._text, newline="")

    @property
    def lines(self) -> list[str]:
        """Return the lines; what is done to them is done to what is pending."""
        if self._text:
            self._lines, self._text = [*self], ""
        return self._lines

    def drop(self, count: int) -> None:
        """Drop the first lines: they are through."""
        del self.lines[:count]
        self.before += count

    def wait(self) -> bool:
        """Wait for more lines, as a record takes all of them; tells whether that may be, and it is not too long."""
        text = "".join(self.lines)
        if self.last or len(text) > LONGEST or len(self._lines) > MOST_LINES:
            return False
        self._text, self._lines = text, []
        self.more, self._enough = True, 2 * len(text)
        return True

    def clear(self, count: int) -> None:
        """Drop all lines, `count` of them, and wait for more."""
        self._text, self._lines = "", []
        self.before += count
        self.more, self._enough = True, 0


class _Records(msgspec.Struct, frozen=True):
    """The rows of a text: `labels` are what its first records end with, `headed` tells whether it has headers.

    `suspicious_cells` are the cells, and their column, that make a look at a record worth while.
    """

    path: Path
    codec: str
    dialect: Dialect
    columns: tuple[str, ...]
    labels: set[str]
    headed: bool
    suspects: tuple[int, frozenset[str]]

    def rows(self) -> Iterator[Row]:
        """Yield the records, the headers and what is above them as well."""
        pending = _Pending()
        for batch in _batches(self.path, self.codec, self.dialect):
            pending.add(batch)
            while not pending.more:
                yield from self._read(pending)

    def _read(self, pending: _Pending) -> Iterator[Row]:
        """Yield the records of pending lines, up to one that cannot be read."""
        file, columns, width = self.path.name, self.columns, len(self.columns)
        (key, suspect), delimiter = self.suspects, self.dialect.delimiter or "\0"
        # Lines that a quote takes in are records by themselves: so many delimiters stand in each, on average.
        least = (width - 1) * ALIKE
        number, odd, done = pending.number, pending.odd, 0
        reader = self.dialect.reader(pending)
        try:
            for cells in reader:
                number += 1
                end = reader.line_num
                plain = len(cells) == width and cells[0] and not odd
                if (
                    plain
                    and (len(cells[key]) > HEADERS_TO or cells[key] not in suspect)
                    and (end == done + 1 or delimiter.join(cells).count(delimiter) < least * (end - done))
                ):
                    values = dict(zip(columns, cells))  # noqa: B905 - they are as many, and saying so takes time
                    yield Row(Where(file, number, "", "record"), values)
                else:
                    for row in self._looked_at(cells, number, pending, done, end):
                        yield row
                        number = row.where.row
                done = end
            pending.clear(done)
        except csv.Error:
            pending.drop(done)
            if reader.line_num - done < len(pending.lines) or not pending.wait():
                number += 1
                line = "".join(pending.lines[:1]).rstrip("\r\n")
                pending.drop(1)
                error = f"holds a quote that is not closed, or not doubled, in line {pending.before}"
                yield Row(
                    Where(file, number, "", "record"),
                    {"": line},
                    f"{error} (`--quote none` takes quotes as they stand)",
                )
        pending.number = number

    def _looked_at(self, cells: list[str], number: int, pending: _Pending, first: int, end: int) -> Iterator[Row]:
        """Yield the row of a record that is out of the ordinary, or those of the lines that a lone quote took in."""
        dialect, found = self.dialect, [cells]
        if end - first > 1 and dialect.swallows(taken := pending.lines[first:end], len(self.columns), self.labels):
            found = [*map(dialect.bare, taken)]
        for at, each in enumerate(map(dialect.without_nulls, found) if pending.odd else found):
            yield self._row(each, number + at, f"line {pending.before + first + at + 1}", odd=pending.odd)

    def _row(self, cells: list[str], number: int, line: str, *, odd: bool) -> Row:
        """Return the row of a record, whatever is the matter with it."""
        where, columns, width = Where(self.path.name, number, "", "record"), self.columns, len(self.columns)
        key, suspect = self.suspects
        if not any(cells):
            return Row(where, {})
        error = ""
        if (key < len(cells) and cells[key] in suspect) or (len(cells) != width and is_rule(cells[:1])):
            error = why_no_sample([cell.strip() for cell in cells], columns if self.headed else ())
        if not error and (len(cells) < width or any(cells[width:])):
            error = f"has {len(cells)} cells, not {width} as the headers say, in {line}"
        if odd and not _is_text(cells):
            error = f"holds bytes that are not {self.codec}, in {line}"
        more = (str(at) for at in range(width + 1, len(cells) + 1)) if error else ()
        return Row(where, dict(zip((*columns, *more), cells, strict=False)), error)


def _is_text(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True
