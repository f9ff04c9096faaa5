"""Workbooks: .xlsx .xlsm .xltx .xltm .xls .xlsb .ods, whatever they are called; stored values, text to the character.

The headers stand in the first row, or below titles and notes (see sheet_head.py). A header that is missing or occurs
twice gets its column's letter: `[C]`, `Answer [D]`. `TRUE`, `2019-01-02` and `69` are text as Excel and ISO 8601
write it. Cells to the right of the last header are no part of the table.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.columns import column_letter
from ftbridge.adapters.mapping.header_rows import (
    HEADERS_TO,
    suspicious_cells,
    why_no_sample,
)
from ftbridge.adapters.mapping.headers import has_question_and_answer, normalize_header
from ftbridge.adapters.sources.split_names import PART_OF
from ftbridge.adapters.sources.workbook.engines import LAST_ROW, Cells
from ftbridge.adapters.sources.workbook.package import (
    SUFFIXES_OF_KIND,
    WORKBOOK_SUFFIXES,
    ZIP,
    BadCells,
    Kind,
    SheetFindings,
    search_sheets,
    workbook_kind,
)
from ftbridge.adapters.sources.workbook.reader import (
    Batch,
    DamagedError,
    Engine,
    Message,
    Order,
    OutOfMemoryError,
    Page,
    Sheets,
    messages,
)
from ftbridge.adapters.sources.workbook.sheet_head import HEADERS_WITHIN, SheetHead, find_head, header_text
from ftbridge.adapters.sources.workbook.xls_records import BARE, OLE
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import FtbridgeError, InputError, QuestionError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.records import FIRST, Reading, Row, Rows, Table, Where
from ftbridge.dataset_info.presets import detect_preset
from ftbridge.language import gettext as _
from ftbridge.language import joined

# What reads the kinds that the fast reader may fail at: with a value far away, such as in XFD1048576, since it does
# without the cells between, and where the fast one finds damage.
SECOND_ENGINE: dict[Kind, Engine] = {"xlsx": "openpyxl", "xls": "xlrd"}


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the content is a zip archive or an OLE file, or a file of a workbook's name holds no plain table."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    utf_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    table = utf_16 or (start != b"" and b"\0" not in head and not start.startswith(b"<"))
    return head.startswith((ZIP, OLE, *BARE)) or (path.suffix.lower() in WORKBOOK_SUFFIXES and not table)


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the sheets asked for: those named, or all visible ones.

    Else the only visible one, a preset's, or all with recognised headers, which are the same. Raises QuestionError
    where that is not clear, InputError where the file cannot be read, and where its format does not tell what is asked
    for.
    """
    kind = workbook_kind(path)
    if reading.as_shown and kind != "xlsx":
        raise InputError(
            _("`{path}` is .{kind}, and `--as-shown` reads only .xlsx and .xlsm; save it as .xlsx").format(
                path=path, kind=kind
            )
        )
    if reading.fill_merged and kind in {"xlsb", "ods"}:
        raise InputError(
            _("`{path}` is .{kind}, and `--fill-merged` reads only .xlsx, .xlsm and .xls; save it as .xlsx").format(
                path=path, kind=kind
            )
        )
    try:
        return _open_book(_Book(path, kind, reading, "shown" if reading.as_shown else "calamine"))
    except (DamagedError, OutOfMemoryError) as error:
        if kind not in SECOND_ENGINE or reading.as_shown:
            raise
        try:
            return _open_book(_Book(path, kind, reading, SECOND_ENGINE[kind]))
        except DamagedError:
            if isinstance(error, DamagedError):
                raise error from None
            raise


class _Book(msgspec.Struct, frozen=True):
    """A workbook and how to read it."""

    path: Path
    kind: Kind
    reading: Reading
    engine: Engine

    def messages(self, *sheets: str) -> Iterator[Message]:
        named, reading = self.path.suffix.lower() in SUFFIXES_OF_KIND[self.kind], self.reading
        return messages(Order(str(self.path), named, self.engine, sheets, reading.fill_merged, reading.encoding))

    def search_sheets(self, *sheets: str) -> dict[str, SheetFindings]:
        return search_sheets(self.path, self.kind, sheets) if self.kind in {"xlsx", "ods"} else {}


class _SheetPiece(msgspec.Struct, frozen=True):
    """One sheet of several, opened when its rows are wanted."""

    book: _Book
    head: SheetHead
    late: list[str]

    def rows(self) -> Iterator[Row]:
        title = self.head.page.name
        return _sheet_rows(self.book, self.head, _read_sheet(self.book, self.book.messages(title), title)[1], self.late)


def _open_book(book: _Book) -> list[Table]:
    """Return the tables of the sheets that are asked for or, else, chosen; raises as `open_tables`."""
    named = tuple(dict.fromkeys(book.reading.sheets))
    stream = book.messages(*named)
    visible = _visible_sheets(book.path, stream, named)
    first, *others = _chosen_tables(book, stream, visible, named)
    if not named and (hidden := [sheet for sheet in visible if not visible[sheet]]):
        note = _("hidden sheets are not read: {sheets}; read one with `--sheet`").format(sheets=_quote_titles(hidden))
        first = msgspec.structs.replace(first, notes=(*first.notes, note))
    return [first, *others]


def _chosen_tables(
    book: _Book, stream: Iterator[Message], visible: dict[str, bool], named: tuple[str, ...]
) -> list[Table]:
    """Return the tables of the `named` sheets, or of those that are chosen among the visible ones."""
    reading, path = book.reading, book.path
    wanted = [*named] or [sheet for sheet in visible if visible[sheet]]
    if len(wanted) == 1:
        return [_only_table(book, stream, wanted[0])]
    heads = _read_heads(book, stream)
    filled = {head.page.name: head.columns for head, _unused in heads if head.columns}
    if named or (reading.all_sheets and filled):
        return _with_parts([_sheet_table(book, head, cells) for head, cells in heads if head.columns or named])
    titles = _choose_sheets(path, visible, filled)
    tables = [_only_table(book, book.messages(title), title) for title in titles]
    notes = (*_choice_notes(titles, filled), *tables[0].notes)
    return _with_parts([msgspec.structs.replace(tables[0], notes=notes), *tables[1:]])


def _visible_sheets(path: Path, stream: Iterator[Message], named: Iterable[str]) -> dict[str, bool]:
    """Return all sheets of a workbook, and whether each is visible; raises InputError where one of `named` is none."""
    visible = next(message.visible for message in stream if isinstance(message, Sheets))
    if missing := [sheet for sheet in named if sheet not in visible]:
        known = closest(
            missing[0], [name if visible[name] else _("{name} (hidden)").format(name=name) for name in visible]
        )
        raise InputError(
            _("`{path}` has no sheet `{missing}`{known}").format(path=path, missing=missing[0], known=known)
        )
    return visible


def _choice_notes(titles: list[str], filled: Iterable[str]) -> Iterator[str]:
    """Yield what the user should know of a choice of sheets among those that are `filled`."""
    if len(titles) > 1:
        yield _("sheets with the same headers are taken together: {titles}; `--sheet` takes one of them").format(
            titles=_quote_titles(titles)
        )
    if left := [title for title in filled if title not in titles]:
        others = _quote_titles(left)
        yield _("other sheets are not read: {others}; read them with `--all-sheets`, or by name with `--sheet`").format(
            others=others
        )


def _only_table(book: _Book, stream: Iterator[Message], title: str) -> Table:
    """Return the table of the one sheet that `stream` brings; its rows are those of the stream."""
    return _sheet_table(book, *_peek_head(book, *_read_sheet(book, stream, title)), only=True)


def _with_parts(tables: list[Table]) -> list[Table]:
    """Return the tables as parts of the dataset where all of them are called as splits are."""
    parts = [PART_OF.get(table.sheet.strip().lower(), "") for table in tables]
    if not all(parts) or len({*parts}) == 1:
        return tables
    return [msgspec.structs.replace(table, part=part) for table, part in zip(tables, parts, strict=True)]


def _quote_titles(titles: Iterable[str]) -> str:
    return joined(", ", (f"`{title}`" for title in titles))


def _read_heads(book: _Book, stream: Iterator[Message]) -> list[tuple[SheetHead, Iterator[Cells]]]:
    """Return what the first rows of each sheet that `stream` brings tell, and those rows."""
    pages: list[tuple[Page, list[Cells]]] = []
    for message in stream:
        if isinstance(message, Page):
            pages.append((message, []))
        elif isinstance(message, Batch):
            pages[-1][1].extend(message.rows)
    found = book.search_sheets(*(page.name for page, _unused in pages))
    return [
        _peek_head(book, *_with_findings(page, iter(cells), found.get(page.name), cut=page.more))
        for page, cells in pages
    ]


def _read_sheet(book: _Book, stream: Iterator[Message], title: str) -> tuple[Page, Iterator[Cells]]:
    """Return the one sheet that `stream` brings."""
    found = book.search_sheets(title).get(title)  # while the other process reads
    page = next(message for message in stream if isinstance(message, Page))
    cells = chain.from_iterable(message.rows for message in stream if isinstance(message, Batch))
    return _with_findings(page, cells, found)


def _peek_head(book: _Book, page: Page, cells: Iterator[Cells]) -> tuple[SheetHead, Iterator[Cells]]:
    """Return what the first rows of a sheet tell, and all of its rows."""
    peeked = list(islice(cells, FIRST + (book.reading.header_row or HEADERS_WITHIN)))
    return find_head(book.path.name, page, peeked, book.reading), chain(peeked, cells)


def _sheet_table(book: _Book, head: SheetHead, cells: Iterator[Cells], *, only: bool = False) -> Table:
    """Return the table of a sheet; where it is not the `only` one, `cells` may be no more than its first."""
    page, row = head.page, book.reading.header_row
    if not head.columns:
        empty = (
            _("row {row} of the sheet `{name}`").format(row=row, name=page.name)
            if row
            else _("the sheet `{name}`").format(name=page.name)
        )
        raise InputError(_("{empty} of `{path}` is empty").format(empty=empty, path=book.path))
    if len(set(head.columns)) < len(head.columns):
        raise InputError(
            _("the headers of the sheet `{name}` of `{path}` are the same in several columns").format(
                name=page.name, path=book.path
            )
        )
    late: list[str] = []
    rows = _sheet_rows(book, head, cells, late)
    first = tuple(islice(rows, FIRST))
    return Table(
        file=book.path.name,
        columns=head.columns,
        pieces=[Rows(chain(first, rows)) if only or not page.more else _SheetPiece(book, head, late)],
        first=first,
        sheet=page.name,
        lettered=True,
        notes=head.notes,
        asks=head.found.asks,
        unsure=head.found.unsure,
        late=late,
    )


def _choose_sheets(path: Path, visible: dict[str, bool], columns: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the sheets that are meant among several; `columns` are those of the visible ones with rows."""
    if preset := detect_preset(sheet for sheet in visible if visible[sheet]):
        return [preset.sheet]
    known = [title for title in columns if has_question_and_answer(columns[title])]
    if len({tuple(map(normalize_header, columns[title])) for title in known}) > 1:
        all_known = [word for title in known for word in ("--sheet", title)]
        raise QuestionError(
            _("`{path}` has several sheets that may be meant, and their headers differ; choose").format(path=path),
            {_("all of them"): ["--all-sheets"] if known == [*columns] else all_known, **_answers_by_sheet(known)},
        )
    if known:
        return known
    if len(columns) == 1:
        return [*columns]
    raise _no_choice(path, visible, columns)


def _no_choice(path: Path, visible: dict[str, bool], columns: dict[str, tuple[str, ...]]) -> FtbridgeError:
    """Return why no sheet can be chosen, where none has recognised headers: none has rows, or which is a question."""
    if visible and not any(visible.values()):
        return QuestionError(
            _("`{path}` has only hidden sheets; choose").format(path=path),
            _answers_by_sheet(columns or visible, _("hidden sheet")),
        )
    if not columns:
        return InputError(_("`{path}` holds no sheet with rows").format(path=path))
    why = _("several sheets, and no sheet has recognised headers")
    return QuestionError(_("`{path}` has {why}; choose").format(path=path, why=why), _answers_by_sheet(columns))


def _answers_by_sheet(titles: Iterable[str], kind: str = _("sheet")) -> dict[str, list[str]]:
    """Return the answers that take one of these sheets."""
    return {_("the {kind} `{title}`").format(kind=kind, title=title): ["--sheet", title] for title in titles}


def _with_findings(
    page: Page, cells: Iterator[Cells], found: SheetFindings | None, *, cut: bool = False
) -> tuple[Page, Iterator[Cells]]:
    """Return the sheet with what was found in it: errors, which readers give as empty cells, and hidden rows.

    Where rows are `cut` off behind `cells`, errors below them are.
    """
    if not found:
        return page, cells
    page = msgspec.structs.replace(page, hidden=page.hidden + found.hidden)
    first = next(found.errors or iter(()), None)
    if found.errors is None or first is None:
        return page, cells
    start = min(page.start, first[0])
    rows = chain(([] for _unused in range(start, page.start)), cells)
    return msgspec.structs.replace(page, start=start), _with_bad_cells(
        start, rows, chain([first], found.errors), cut=cut
    )


def _with_bad_cells(start: int, rows: Iterator[Cells], errors: BadCells, *, cut: bool) -> Iterator[Cells]:
    error = next(errors, None)

    def below() -> Iterator[Cells]:
        while error and error[0] <= LAST_ROW and not cut:
            yield []

    for number, row in enumerate(chain(rows, below()), start):
        while error and error[0] <= number:
            if error[0] == number:
                row.extend([""] * (error[1] - len(row)))
                row[error[1] - 1] = [*error[2]]
            error = next(errors, None)
        yield row


class _SpecialCells:
    """Cells that a reader sends as lists: errors, and numbers that are not what was typed."""

    def __init__(self, file: str, title: str, columns: Sequence[str], late: list[str]) -> None:
        """Note such numbers in `late`, once for a column."""
        self.file, self.title, self.columns, self.late = file, title, columns, late
        self.noted: set[str] = set()

    def value(self, cell: list[Any], column: str, row: int) -> Any:
        """Return what stands in the cell."""
        if isinstance(cell[0], str):
            return BadCell(*cell)
        if column not in self.noted:
            self.noted.add(column)
            at = Where(self.file, row, self.title).cell(column_letter(self.columns.index(column) + 1))
            note = _(
                "`{column}` holds numbers of 16 and more digits, as in {at}, and Excel keeps 15; store them as text"
            ).format(column=column, at=at)
            if note not in self.late:
                self.late.append(note)
        return cell[-1]


def _sheet_rows(book: _Book, head: SheetHead, cells: Iterator[Cells], late: list[str]) -> Iterator[Row]:
    """Yield the rows of a sheet, given with its headers; empty ones, without values, only where a full one follows.

    Columns with numbers that are not what was typed are noted in `late`.
    """
    file, title, columns = book.path.name, head.page.name, head.columns
    headers = columns if head.named else ()
    suspect_cells = suspicious_cells(headers)
    last = head.start - 1
    special = _SpecialCells(file, title, columns, late)
    for number, row in enumerate(islice(cells, head.start - head.page.start, None), head.start):
        values: dict[str, Any] = {
            column: special.value(cell, column, number) if type(cell) is list else cell
            for column, cell in zip(columns, row, strict=False)
            if cell != ""
        }
        if _is_blank(values):
            continue
        for empty in range(last + 1, number):
            yield Row(Where(file, empty, title), {})
        last = number
        yield Row(Where(file, number, title), values, _row_error(row, headers, suspect_cells))


def _row_error(row: Cells, headers: Sequence[str], suspect_cells: tuple[int, frozenset[str]]) -> str:
    """Return why a row is no sample, such as one that repeats the headers; "" where it may be one."""
    column, suspect = suspect_cells
    cell = row[column] if column < len(row) else ""
    if type(cell) is str and len(cell) <= HEADERS_TO and cell in suspect:
        return why_no_sample([*map(header_text, row)], headers)
    return ""


def _is_blank(values: dict[str, Any]) -> bool:
    """Tell whether a row holds nothing but blanks."""
    return not any(type(value) is not str or value.strip() for value in values.values())
