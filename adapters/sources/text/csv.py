"""Delimited text, CSV and TSV: all cells are text just as they stand, `007`, `NA` and empty ones included.

Encoding, delimiter and quotes are found and told. The first record, or the first one with recognised headers
among the first 20, holds the headers. Records are counted from 1, headers and empty lines included: without
newlines in cells, record and line are the same. A quote that is not closed costs its line: reading goes on behind it.
"""

import csv
import io
import re
from collections.abc import Generator, Iterator
from itertools import chain, dropwhile, islice
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
from ftbridge.adapters.sources.text.csv_dialect import HEADERS_WITHIN, TABLE_SHARE, Dialect, find_dialect, is_delimited
from ftbridge.adapters.sources.text.encoding import DecodedText, as_utf8, find_encoding
from ftbridge.adapters.values import shorten
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.records import FIRST, Reading, Row, Rows, Table, Where, first_rows, place_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
TAB_SUFFIXES = {".tsv", ".tab"}
BEGINS_AS_JSON = re.compile(rb'\s*(\[\s*[\[{]|\{\s*["}])')
CONTROL_BYTES = bytes({*range(32)} - {*b"\t\n\f\r\x1a\x1b"})
DELIMITER_LINE = re.compile(r"sep=.\r?\n?")  # how Excel is told the delimiter
SAMPLE_SIZE = 128 << 10
# A record of more lines is none: a text that can be trained on has no more characters.
MOST_LINES = 1_000_000


def detect(path: Path, head: bytes) -> bool:
    """Tell whether this is called CSV or TSV, or is plainly a table; JSON is not, whatever its name."""
    start = as_utf8(head)
    controls = len(start) - len(start.translate(None, CONTROL_BYTES))
    if path.is_dir() or BEGINS_AS_JSON.match(start) or controls > max(2, len(start) // 20):
        return False
    suffix = unpacked_name(path).suffix.lower()
    lines = list(io.StringIO(start.decode("latin-1"), newline=""))
    return suffix in SUFFIXES or (suffix not in jsonl.SUFFIXES and is_delimited(lines))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the table; raises InputError where it is empty or too damaged, UsageError for an unknown encoding."""
    reading.refuse_sheets(path, _("delimited text"))
    encoding = find_encoding(path, reading.encoding)
    lines, cut = _first_lines(path, encoding.codec)
    dialect = find_dialect(
        lines[max(0, (reading.header_row or 1) - 1) :],
        first="\t" if unpacked_name(path).suffix.lower() in TAB_SUFFIXES else ",",
        cut=cut,
        delimiter=reading.separator,
        quote=reading.quoting,
    )
    read = islice(dialect.records(lines, cut=cut), FIRST + (reading.header_row or HEADERS_WITHIN))
    records = [[cell.strip() for cell in record or ()] for record in read]
    delimiter_is_told = DELIMITER_LINE.fullmatch(lines[0] if lines else "") is not None
    if delimiter_is_told:
        records[0] = []
    at, columns = _find_headers(path, records, reading.header_row)
    headers = HeaderFindings(int(delimiter_is_told))
    if at is not None:
        sheet = FirstRows(path.name, "record", records, doubt=UNSURE)
        headers = sheet.examine_headers(at, columns, requested=reading.header_row is not None)
    labels = {cells[-1] for cells in records if cells}
    headed = at is not None
    parsed = _Records(
        path, encoding.codec, dialect, columns, labels, headed, suspicious_cells(columns if headed else ())
    )
    rows = dropwhile(lambda row: row.where.row <= headers.start, parsed.rows())
    first = first_rows(rows)
    below = (
        _("headers in {place}").format(place=place_of("record", at + 1)) if at and reading.header_row is None else ""
    )
    how = joined(_(", "), filter(None, (encoding.note, dialect.note, below)))
    return [
        Table(
            file=path.name,
            columns=columns,
            pieces=[Rows(chain(first, rows))],
            first=first,
            notes=tuple(filter(None, (how, *headers.notes))),
            asks=headers.asks,
            unsure=headers.unsure,
        )
    ]


def _first_lines(path: Path, codec: str) -> tuple[list[str], bool]:
    """Return the first 128 KiB or so in lines, and whether more follow."""
    lines: list[str] = []
    size = 0
    for batch in _text_batches(path, codec):
        for line in io.StringIO(batch.text, newline=""):
            lines.append(line)
            size += len(line)
            if size > SAMPLE_SIZE:
                return lines, True
    return lines, False


def _find_headers(path: Path, records: list[list[str]], asked: int | None) -> tuple[int | None, tuple[str, ...]]:
    """Return which of the records holds the headers, None for none, and the columns."""
    filled = [number for number, cells in enumerate(records) if any(cells) and not is_rule(cells)]
    if asked and asked - 1 not in filled:
        raise InputError(
            _("`{path}` has no headers in record {asked}; give another `--header-row`").format(path=path, asked=asked)
        )
    if not filled:
        raise InputError(_("`{path}` holds no records").format(path=path))
    if asked == 0:
        return None, tuple(str(at) for at in range(1, len(records[filled[0]]) + 1))
    known = (number for number in filled if number < HEADERS_WITHIN and has_question_and_answer(records[number]))
    number = next(known, filled[0]) if asked is None else asked - 1
    try:
        return number, unique_headers(records[number])
    except InputError as error:
        raise InputError(_("`{path}` cannot be used: {error}").format(path=path, error=error)) from error


class _TextBatch(msgspec.Struct, frozen=True):
    """Whole lines of a text; `odd` says that they hold marks for MySQL's NULL, or bytes that did not decode."""

    text: str
    odd: bool
    last: bool


def _text_batches(path: Path, codec: str, dialect: Dialect | None = None) -> Iterator[_TextBatch]:
    """Yield a text in batches of about 128 KiB, with what is no value marked as the dialect has it.

    Raises InputError where a line is too long.
    """
    text_pieces, rest = DecodedText(path, codec), ""
    for piece in chain(text_pieces, [None]):
        rest += piece or ""
        end = len(rest) if piece is None else rest.rfind("\n") + 1 or rest.rfind("\r", 0, -1) + 1
        text, rest = rest[:end], rest[end:]
        if len(rest) > LONGEST:
            raise InputError(
                _(
                    "`{path}` is not a table: the line that begins with `{rest}` is longer than {longest} "
                    "million characters"
                ).format(path=path, rest=shorten(rest[:SAMPLE_SIZE]), longest=LONGEST >> 20)
            )
        marked = dialect.with_nulls(text) if dialect else text
        yield _TextBatch(marked, text_pieces.damaged or marked is not text, last=piece is None)


class _PendingLines:
    """The lines of a text that are not yet rows; `before` counts the lines above, `number` the records above.

    `odd` is as in a batch; `more` says that lines must be added before there is another record.
    """

    def __init__(self) -> None:
        self.before = self.number = self._enough = 0
        self.odd = self.last = self.more = False
        self._text = ""
        self._lines: list[str] = []  # a text is cut into lines where that is needed

    def add(self, batch: _TextBatch) -> None:
        """Add the lines of a batch; a record that takes many is tried again only when they are twice as many."""
        self.odd = batch.odd or (self.odd and self._text != "")
        self.last = batch.last
        self._text += batch.text
        self.more = not self.last and len(self._text) < self._enough

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines) if self._lines else io.StringIO(self._text, newline="")

    @property
    def lines(self) -> list[str]:
        """Return the pending lines themselves, no copy."""
        if self._text:
            self._lines, self._text = [*self], ""
        return self._lines

    def drop_first(self, count: int) -> None:
        """Drop the first `count` lines, which are rows by now."""
        del self.lines[:count]
        self.before += count

    def wait_for_more(self) -> bool:
        """Wait for more lines, as a record takes all of them; returns False at the end, or where it is too long."""
        text = "".join(self.lines)
        if self.last or len(text) > LONGEST or len(self._lines) > MOST_LINES:
            return False
        self._text, self._lines = text, []
        self.more, self._enough = True, 2 * len(text)
        return True

    def drop_all(self, count: int) -> None:
        """Drop all `count` lines, and wait for more."""
        self._text, self._lines = "", []
        self.before += count
        self.more, self._enough = True, 0


class _Records(msgspec.Struct, frozen=True):
    """Reads the rows of a text; `labels` are the last cells of its first records, `headed` says that it has headers.

    `suspicious_cells` are a column and the cells there by which a record may repeat the headers.
    """

    path: Path
    codec: str
    dialect: Dialect
    columns: tuple[str, ...]
    labels: set[str]
    headed: bool
    suspects: tuple[int, frozenset[str]]

    def rows(self) -> Iterator[Row]:
        """Yield a row for each record of the file, the headers and what is above them too."""
        pending = _PendingLines()
        for batch in _text_batches(self.path, self.codec, self.dialect):
            pending.add(batch)
            while not pending.more:
                yield from self._read(pending)

    def _read(self, pending: _PendingLines) -> Iterator[Row]:
        """Yield the rows of pending lines, up to the first with a bad quote."""
        file, columns, width = self.path.name, self.columns, len(self.columns)
        (key, suspect), delimiter = self.suspects, self.dialect.delimiter or "\0"
        # Lines that a quote takes in are records by themselves: so many delimiters stand in each, on average.
        least = (width - 1) * TABLE_SHARE
        number, odd, done = pending.number, pending.odd, 0
        reader = self.dialect.reader(pending)
        try:
            for cells in reader:
                number += 1
                end = reader.line_num
                usual = len(cells) == width and cells[0] and not odd
                if usual and len(cells[key]) <= HEADERS_TO:
                    usual = cells[key] not in suspect
                if usual and end > done + 1:
                    usual = delimiter.join(cells).count(delimiter) < least * (end - done)
                if usual:
                    values = dict(zip(columns, cells))  # noqa: B905 - they are as many, and saying so takes time
                    yield Row(Where(file, number, "", "record"), values)
                else:
                    number = yield from self._unusual_rows(cells, number, pending, done, end)
                done = end
            pending.drop_all(done)
        except csv.Error:
            pending.drop_first(done)
            if row := self._row_of_bad_quote(number + 1, reader.line_num - done, pending):
                number += 1
                yield row
        pending.number = number

    def _row_of_bad_quote(self, number: int, taken: int, pending: _PendingLines) -> Row | None:
        """Return the row of the first pending line, whose quote is bad, and drop that line.

        It is None where the record has `taken` all lines, and more of them may close the quote.
        """
        if taken == len(pending.lines) and pending.wait_for_more():
            return None
        line = "".join(pending.lines[:1]).rstrip("\r\n")
        pending.drop_first(1)
        error = _("has an unclosed quote, or one inside a cell that is not doubled, in line {before}").format(
            before=pending.before
        )
        where = Where(self.path.name, number, "", "record")
        return Row(where, {"": line}, _("{error} (`--quote none` reads quotes literally)").format(error=error))

    def _unusual_rows(
        self, cells: list[str], number: int, pending: _PendingLines, first: int, end: int
    ) -> Generator[Row, None, int]:
        """Yield the row of a record that is out of the ordinary, or those of the lines that a lone quote took in.

        Returns the number of the last one.
        """
        dialect, records, lines = self.dialect, [cells], []
        if end - first > 1:
            lines = pending.lines[first:end]
        if lines and dialect.has_stray_quote(lines, len(self.columns), self.labels):
            records = [*map(dialect.split_unquoted, lines)]
        for at, record in enumerate(map(dialect.without_nulls, records) if pending.odd else records):
            yield self._unusual_row(
                record, number + at, _("line {before}").format(before=pending.before + first + at + 1), odd=pending.odd
            )
        return number + len(records) - 1

    def _unusual_row(self, cells: list[str], number: int, line: str, *, odd: bool) -> Row:
        """Return the row of a record, whatever is the matter with it."""
        where = Where(self.path.name, number, "", "record")
        if not any(cells):
            return Row(where, {})
        error = self._record_error(cells, line, odd=odd)
        more = (str(at) for at in range(len(self.columns) + 1, len(cells) + 1)) if error else ()
        return Row(where, dict(zip((*self.columns, *more), cells, strict=False)), error)

    def _record_error(self, cells: list[str], line: str, *, odd: bool) -> str:
        """Return what is wrong with a record that stands in `line`, "" for nothing."""
        if odd and not _is_text(cells):
            return _("holds bytes that are not {codec}, in {line}").format(codec=self.codec, line=line)
        width = len(self.columns)
        key, suspect = self.suspects
        if (key < len(cells) and cells[key] in suspect) or (len(cells) != width and is_rule(cells[:1])):
            error = why_no_sample([cell.strip() for cell in cells], self.columns if self.headed else ())
            if error:
                return error
        if len(cells) < width or any(cells[width:]):
            return _("has {cells}, not {width} as the headers say, in {line}").format(
                cells=counted(len(cells), "cell"), width=width, line=line
            )
        return ""


def _is_text(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True
