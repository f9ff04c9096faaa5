"""Workbooks: .xlsx .xlsm .xltx .xltm .xls .xlsb .ods, whatever they are called; stored values, text to the character.

The headers stand in the first row, or below titles and notes (see `_header_at`). A header that is missing or occurs
twice gets its column's letter: `[C]`, `Answer [D]`. `TRUE`, `2019-01-02` and `69` are text as Excel and ISO 8601
write it. Cells to the right of the last header are no part of the table.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.columns import fits, letter
from ftbridge.adapters.values import BadCell
from ftbridge.adapters.workbook_file import OLE, ZIP, Kind, error_cells, kind_of
from ftbridge.adapters.workbook_reader import (
    Batch,
    Cell,
    Cells,
    Engine,
    Message,
    Order,
    OutOfMemoryError,
    Page,
    Sheets,
    messages,
)
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import Piece, Reading, Rows, Table
from ftbridge.core.records import Row, Where
from ftbridge.core.strict import closest
from ftbridge.dataset_info.presets import preset_of

SUFFIXES = {".xlsx", ".xlsm", ".xltx", ".xltm", ".xls", ".xlsb", ".ods"}
FIRST = 100
# Headers are searched in so many rows.
SEARCHED = 20


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the content is a zip archive or an OLE file, or a file of a workbook's name holds no plain table."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    utf_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    table = utf_16 or (start != b"" and b"\0" not in head and not start.startswith(b"<"))
    return head.startswith((ZIP, OLE)) or (path.suffix.lower() in SUFFIXES and not table)


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the sheets asked for: those named, or all visible ones.

    Else the only visible one, a preset's, or the first with recognised headers. Raises InputError where that is not
    clear, where the file cannot be read, and where its format does not tell what is asked for.
    """
    kind = kind_of(path)
    if reading.as_shown and kind != "xlsx":
        raise InputError(f"`{path}` is .{kind}, and `--as-shown` reads only .xlsx and .xlsm; save it as .xlsx")
    if reading.fill_merged and kind in {"xlsb", "ods"}:
        raise InputError(f"`{path}` is .{kind}, and `--fill-merged` reads only .xlsx, .xlsm and .xls; save it as .xlsx")
    try:
        return _open(_Book(path, kind, reading, "shown" if reading.as_shown else "calamine"))
    except OutOfMemoryError:
        if kind != "xlsx" or reading.as_shown:
            raise
        # With a value far away, such as in XFD1048576: the slower reader does without the cells between.
        return _open(_Book(path, kind, reading, "openpyxl"))


class _Book(msgspec.Struct, frozen=True):
    """A workbook and how to read it."""

    path: Path
    kind: Kind
    reading: Reading
    engine: Engine

    def messages(self, *sheets: str) -> Iterator[Message]:
        return messages(Order(str(self.path), self.engine, sheets, self.reading.fill_merged))

    def errors(self, sheet: str) -> Iterator[tuple[int, int, str]]:
        return error_cells(self.path, sheet) if self.kind == "xlsx" else iter(())


class _Head(msgspec.Struct, frozen=True):
    """What the first rows of a sheet tell; its rows begin at `start`, counted from 1."""

    page: Page
    columns: tuple[str, ...]
    start: int
    notes: tuple[str, ...] = ()


class _Sheet(msgspec.Struct, frozen=True):
    """One sheet of several, opened when its rows are wanted."""

    book: _Book
    head: _Head

    def rows(self) -> Iterator[Row]:
        cells = _cells(self.book.messages(self.head.page.name))
        yield from _rows(self.book, self.head, cells, self.book.errors(self.head.page.name))


def _open(book: _Book) -> list[Table]:
    reading, path = book.reading, book.path
    stream = book.messages(*reading.sheets)
    visible = next(message.visible for message in stream if isinstance(message, Sheets))
    if missing := [sheet for sheet in reading.sheets if sheet not in visible]:
        raise InputError(f"`{path}` has no sheet `{missing[0]}`{closest(missing[0], visible)}")
    wanted = [*dict.fromkeys(reading.sheets)] or [sheet for sheet in visible if visible[sheet]]
    if len(wanted) == 1:
        return [_only(book, stream, wanted[0])]
    pages: list[tuple[Page, list[Cells]]] = []
    for message in stream:
        if isinstance(message, Page):
            pages.append((message, []))
        elif isinstance(message, Batch):
            pages[-1][1].extend(message.rows)
    heads = [(_head(page, cells, reading), cells) for page, cells in pages]
    if reading.sheets or (reading.all_sheets and any(head.columns for head, _ in heads)):
        return [_one_of(book, head, cells) for head, cells in heads if head.columns or reading.sheets]
    title = _choose(path, visible, {head.page.name: head.columns for head, _ in heads if head.columns})
    return _open(msgspec.structs.replace(book, reading=msgspec.structs.replace(reading, sheets=(title,))))


def _only(book: _Book, stream: Iterator[Message], title: str) -> Table:
    """Return the table of the one sheet that `stream` brings."""
    errors = book.errors(title)  # searched while the other process reads
    page = next(message for message in stream if isinstance(message, Page))
    cells = _cells(stream)
    peeked = list(islice(cells, FIRST + (book.reading.header_row or SEARCHED)))
    head = _head(page, peeked, book.reading)
    rows = _rows(book, head, chain(peeked, cells), errors)
    first = tuple(islice(rows, FIRST))
    return _table(book, head, first, Rows(chain(first, rows)))


def _one_of(book: _Book, head: _Head, peeked: list[Cells]) -> Table:
    first = islice(_rows(book, head, iter(peeked), book.errors(head.page.name)), FIRST)
    return _table(book, head, tuple(first), _Sheet(book, head))


def _table(book: _Book, head: _Head, first: tuple[Row, ...], piece: Piece) -> Table:
    page, row = head.page, book.reading.header_row
    if not head.columns:
        empty = f"row {row} of the sheet `{page.name}`" if row else f"the sheet `{page.name}`"
        raise InputError(f"{empty} of `{book.path}` is empty")
    if len(set(head.columns)) < len(head.columns):
        raise InputError(f"the headers of the sheet `{page.name}` of `{book.path}` are the same in several columns")
    return Table(
        file=book.path.name,
        columns=head.columns,
        pieces=[piece],
        first=first,
        sheet=page.name,
        lettered=True,
        notes=head.notes,
    )


def _choose(path: Path, visible: dict[str, bool], columns: dict[str, tuple[str, ...]]) -> str:
    """Return the sheet that is meant among several; `columns` are those of the visible ones with rows."""
    if preset := preset_of(sheet for sheet in visible if visible[sheet]):
        return preset.sheet
    known = [title for title in columns if fits(columns[title])]
    if known or len(columns) == 1:
        return (known or [*columns])[0]
    shown = any(visible.values())
    if not visible or (shown and not columns):
        raise InputError(f"`{path}` holds no sheet with rows")
    why = "several sheets, and the headers of none are recognised" if shown else "only hidden sheets"
    raise InputError(f"`{path}` has {why}; choose with `--sheet`: {', '.join(f'`{title}`' for title in visible)}")


def _cells(stream: Iterator[Message]) -> Iterator[Cells]:
    return chain.from_iterable(message.rows for message in stream if isinstance(message, Batch))


def _head(page: Page, rows: list[Cells], reading: Reading) -> _Head:
    """Return columns and start of a sheet from its first rows; no columns where its header row is empty."""
    if reading.header_row == 0:
        width = max((len(row) for row in rows), default=0)
        return _Head(page, tuple(letter(at) for at in range(1, width + 1)), page.start, page.notes)
    at = _header_at(rows) if reading.header_row is None else reading.header_row - page.start
    names = [_name(cell) for cell in rows[at]] if 0 <= at < len(rows) else []
    while names and not names[-1]:
        names.pop()
    count = Counter(names)
    columns = tuple(
        name if name and count[name] == 1 else f"{name} [{letter(at)}]".strip() for at, name in enumerate(names, 1)
    )
    start = page.start + at + 1
    notes = page.notes
    if reading.header_row is None and any(map(_name, chain.from_iterable(rows[:at]))):
        notes += (f"the headers of the sheet `{page.name}` are in row {start - 1}; `--header-row` chooses another",)
    if page.merged and page.merged[2] >= start and not reading.fill_merged:
        top, left, bottom, right = page.merged
        area = f"{letter(left)}{top}:{letter(right)}{bottom}"
        notes += (
            f"cells of the sheet `{page.name}` are merged, such as {area}, and only the first holds the value; "
            "`--fill-merged` gives it to all",
        )
    return _Head(page, columns, start, notes)


def _header_at(rows: list[Cells]) -> int:
    """Return which of `rows` holds the headers.

    Among the first twenty, it is the first with a recognised question and answer; else the first that is only
    text, all different, and fills more than half of the usual width; else the first that is not empty.
    """
    names = [[_name(cell) for cell in row] for row in rows[:SEARCHED]]
    filled = [(at, [name for name in row if name]) for at, row in enumerate(names) if any(row)]
    if known := [at for at, row in filled if fits(row)]:
        return known[0]
    counts = Counter(len(row) for row in rows if row)
    usual = max(counts, key=lambda width: (counts[width], width), default=0)
    for at, row in filled:
        texts = all(isinstance(cell, str) for cell in rows[at])
        if texts and len(set(row)) == len(row) and 2 * len(row) > usual:
            return at
    return filled[0][0] if filled else 0


def _name(cell: Cell) -> str:
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip()


def _rows(
    book: _Book, head: _Head, cells: Iterator[Cells], errors: Iterator[tuple[int, int, str]]
) -> Iterator[Row]:
    """Yield the rows of a sheet, given with its headers; empty ones, without values, only where a full one follows."""
    file, title, columns = book.path.name, head.page.name, head.columns
    last = head.start - 1
    error = next(errors, None)
    for number, row in enumerate(islice(cells, head.start - head.page.start, None), head.start):
        values: dict[str, Any] = {column: cell for column, cell in zip(columns, row, strict=False) if cell != ""}
        while error and error[0] <= number:
            if error[0] == number and error[1] <= len(columns):
                values[columns[error[1] - 1]] = BadCell(error[2])
            error = next(errors, None)
        if any(type(value) is not str or value.strip() for value in values.values()):
            for empty in range(last + 1, number):
                yield Row(Where(file, empty, title), {})
            last = number
            yield Row(Where(file, number, title), values)
