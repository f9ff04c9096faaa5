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

from ftbridge.adapters.columns import letter, marked_headers
from ftbridge.adapters.header_rows import HEADERS_TO, Headers, Sheet, is_rule, no_sample, suspects
from ftbridge.adapters.headers import fits
from ftbridge.adapters.values import BadCell
from ftbridge.adapters.workbook_file import NAMED, OLE, SUFFIXES, ZIP, Errors, Kind, error_cells, kind_of
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
from ftbridge.core.plugins import FIRST, Reading, Rows, Table
from ftbridge.core.records import Row, Where
from ftbridge.core.strict import closest
from ftbridge.dataset_info.presets import preset_of

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
        named = self.path.suffix.lower() in NAMED[self.kind]
        return messages(Order(str(self.path), named, self.engine, sheets, self.reading.fill_merged))

    def errors(self, *sheets: str) -> dict[str, Errors]:
        return error_cells(self.path, sheets) if self.kind == "xlsx" else {}


class _Head(msgspec.Struct, frozen=True):
    """What the first rows of a sheet tell; its rows begin at `start`, counted from 1.

    `named` says that the columns have their names from a row, and `found` what is to be known about that one.
    """

    page: Page
    columns: tuple[str, ...]
    start: int
    notes: tuple[str, ...] = ()
    named: bool = True
    found: Headers = Headers(0)


class _Sheet(msgspec.Struct, frozen=True):
    """One sheet of several, opened when its rows are wanted."""

    book: _Book
    head: _Head

    def rows(self) -> Iterator[Row]:
        title = self.head.page.name
        return _rows(self.book, self.head, _sheet(self.book, self.book.messages(title), title)[1])


def _open(book: _Book) -> list[Table]:
    reading, path = book.reading, book.path
    named = tuple(dict.fromkeys(reading.sheets))
    stream = book.messages(*named)
    visible = next(message.visible for message in stream if isinstance(message, Sheets))
    if missing := [sheet for sheet in named if sheet not in visible]:
        raise InputError(f"`{path}` has no sheet `{missing[0]}`{closest(missing[0], visible)}")
    wanted = [*named] or [sheet for sheet in visible if visible[sheet]]
    if len(wanted) == 1:
        return [_table(book, *_peek(book, *_sheet(book, stream, wanted[0])), only=True)]
    heads = _heads(book, stream)
    if named or (reading.all_sheets and any(head.columns for head, _ in heads)):
        return [_table(book, head, cells) for head, cells in heads if head.columns or named]
    title = _choose(path, visible, {head.page.name: head.columns for head, _ in heads if head.columns})
    (table,) = _open(msgspec.structs.replace(book, reading=msgspec.structs.replace(reading, sheets=(title,))))
    others = ", ".join(f"`{head.page.name}`" for head, _ in heads if head.columns and head.page.name != title)
    note = f"other sheets are left out: {others}; take them with `--all-sheets`, or by name with `--sheet`"
    return [msgspec.structs.replace(table, notes=(note, *table.notes)) if others else table]


def _heads(book: _Book, stream: Iterator[Message]) -> list[tuple[_Head, Iterator[Cells]]]:
    """Return what the first rows of each sheet that `stream` brings tell, and those rows."""
    pages: list[tuple[Page, list[Cells]]] = []
    for message in stream:
        if isinstance(message, Page):
            pages.append((message, []))
        elif isinstance(message, Batch):
            pages[-1][1].extend(message.rows)
    errors = book.errors(*(page.name for page, _ in pages))
    return [_peek(book, *_with_errors(page, iter(cells), errors.get(page.name))) for page, cells in pages]


def _sheet(book: _Book, stream: Iterator[Message], title: str) -> tuple[Page, Iterator[Cells]]:
    """Return the one sheet that `stream` brings."""
    errors = book.errors(title).get(title)  # searched while the other process reads
    page = next(message for message in stream if isinstance(message, Page))
    cells = chain.from_iterable(message.rows for message in stream if isinstance(message, Batch))
    return _with_errors(page, cells, errors)


def _peek(book: _Book, page: Page, cells: Iterator[Cells]) -> tuple[_Head, Iterator[Cells]]:
    """Return what the first rows of a sheet tell, and all of its rows."""
    peeked = list(islice(cells, FIRST + (book.reading.header_row or SEARCHED)))
    return _head(book, page, peeked), chain(peeked, cells)


def _table(book: _Book, head: _Head, cells: Iterator[Cells], *, only: bool = False) -> Table:
    """Return the table of a sheet; where it is not the `only` one, `cells` may be no more than its first."""
    page, row = head.page, book.reading.header_row
    if not head.columns:
        empty = f"row {row} of the sheet `{page.name}`" if row else f"the sheet `{page.name}`"
        raise InputError(f"{empty} of `{book.path}` is empty")
    if len(set(head.columns)) < len(head.columns):
        raise InputError(f"the headers of the sheet `{page.name}` of `{book.path}` are the same in several columns")
    rows = _rows(book, head, cells)
    first = tuple(islice(rows, FIRST))
    return Table(
        file=book.path.name,
        columns=head.columns,
        pieces=[Rows(chain(first, rows)) if only or not page.more else _Sheet(book, head)],
        first=first,
        sheet=page.name,
        lettered=True,
        notes=head.notes,
        asks=head.found.asks,
        unsure=head.found.unsure,
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


def _head(book: _Book, page: Page, rows: list[Cells]) -> _Head:
    """Return columns and start of a sheet from its first rows; no columns where its header row is empty."""
    reading = book.reading
    if reading.header_row == 0:
        width = max((len(row) for row in rows), default=0)
        return _Head(page, tuple(letter(at) for at in range(1, width + 1)), page.start, page.notes, named=False)
    names = [[*map(_name, row)] for row in rows]
    at = _header_at(names) if reading.header_row is None else reading.header_row - page.start
    columns = marked_headers(names[at] if 0 <= at < len(rows) else [])
    if not columns:
        return _Head(page, (), page.start)
    notes = page.notes
    if reading.header_row is None and any(map(any, names[:at])):
        notes += (
            f"the headers of the sheet `{page.name}` are in row {page.start + at}; `--header-row` chooses another",
        )
    sheet = Sheet(f"{book.path.name} {page.name}", "row", names, before=page.start - 1)
    found = sheet.headers(at, columns, asked=reading.header_row is not None)
    notes += found.notes
    start = page.start + found.start
    if max(map(len, rows[at + 1 :]), default=0) > len(columns):
        notes += (f"values in column {letter(len(columns) + 1)} and to its right have no header, and are not read",)
    if page.merged and page.merged[2] >= start and not reading.fill_merged:
        top, left, bottom, right = page.merged
        area = f"{letter(left)}{top}:{letter(right)}{bottom}"
        notes += (f"only the first of merged cells holds the value, as in {area}; `--fill-merged` gives it to all",)
    return _Head(page, columns, start, notes, found=found)


def _header_at(rows: list[list[str]]) -> int:
    """Return which of `rows` holds the headers.

    Among the first twenty, it is the first with a recognised question and answer; else, in a table of several
    columns, the first that is only text, all different, and fills more than half of the usual width, as titles and
    notes do not; else the first that is not empty.
    """
    names = [[*filter(None, row)] for row in rows]
    filled = [(at, row) for at, row in enumerate(names[:SEARCHED]) if row and not is_rule(row)]
    widths = Counter(len(row) for row in names if row)
    usual = max(widths, key=lambda width: (widths[width], width), default=0)
    if known := [at for at, row in filled if fits(row)]:
        return known[0]
    for at, row in filled:
        if len(set(row)) == len(row) and all(map(_is_text, row)) and 2 * len(row) > usual > 1:
            return at
    return filled[0][0] if filled else 0


def _is_text(name: str) -> bool:
    """Tell whether a cell is more than a number or a date."""
    return any(map(str.isalpha, name)) or not any(map(str.isdigit, name))


def _name(cell: Cell) -> str:
    """Return a cell as a header; an error is none."""
    if isinstance(cell, list):
        return ""
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()


def _with_errors(page: Page, cells: Iterator[Cells], errors: Errors | None) -> tuple[Page, Iterator[Cells]]:
    """Return the sheet with its error cells, which the fast reader gives as empty ones."""
    first = next(errors or iter(()), None)
    if errors is None or first is None:
        return page, cells
    start = min(page.start, first[0])
    rows = chain(([] for _ in range(start, page.start)), cells)
    return msgspec.structs.replace(page, start=start), _marked(start, rows, chain([first], errors))


def _marked(start: int, rows: Iterator[Cells], errors: Errors) -> Iterator[Cells]:
    error = next(errors, None)
    for number, row in enumerate(rows, start):
        while error and error[0] <= number:
            if error[0] == number:
                row.extend([""] * (error[1] - len(row)))
                row[error[1] - 1] = [error[2]]
            error = next(errors, None)
        yield row


def _rows(book: _Book, head: _Head, cells: Iterator[Cells]) -> Iterator[Row]:
    """Yield the rows of a sheet, given with its headers; empty ones, without values, only where a full one follows."""
    file, title, columns = book.path.name, head.page.name, head.columns
    key, suspect = suspects(columns if head.named else ())
    last = head.start - 1
    for number, row in enumerate(islice(cells, head.start - head.page.start, None), head.start):
        values: dict[str, Any] = {
            column: BadCell(cell[0]) if type(cell) is list else cell
            for column, cell in zip(columns, row, strict=False)
            if cell != ""
        }
        if any(type(value) is not str or value.strip() for value in values.values()):
            for empty in range(last + 1, number):
                yield Row(Where(file, empty, title), {})
            last, error = number, ""
            cell = row[key] if key < len(row) else ""
            if type(cell) is str and len(cell) <= HEADERS_TO and cell in suspect:
                error = no_sample([*map(_name, row)], columns if head.named else ())
            yield Row(Where(file, number, title), values, error)
