"""The readers of workbooks, each of which gives the same cells: calamine, the fast one, openpyxl and xlrd.

They are used in the reading process alone, where what they need of memory is bounded.
"""

import datetime as dt
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any, Protocol

from ftbridge.adapters.sources.workbook.xls_records import BARE, BIFF8, OLE, Marks, Records
from ftbridge.language import gettext as _
from ftbridge.language import joined

# A cell as it is sent: dates are text by then, and an empty cell is "". What a list holds is more than a value: an
# error alone, or a number of so many digits that it is not what was typed, and with it the text that is shown.
Cell = str | float | int | list[str | float | int]
Cells = list[Cell]
# Merged cells by first row, first column, last row and last column, from 1.
Ranges = list[tuple[int, int, int, int]]
LAST_ROW = 1 << 20
# Excel keeps fifteen digits of a number.
SIXTEEN_DIGITS = 10**15
# More empty cells than this, in the rows above a table, are not looked at one by one.
MANY_EMPTY = 1 << 20
ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
# xlrd's kinds of cells.
EMPTY, TEXT, DATE, BOOLEAN, ERROR = {0, 6}, 1, 3, 4, 5
DAY = 24 * 60 * 60 * 1000
# Code pages of BIFF5 and before that Python calls otherwise, or by what holds more.
CODECS = {367: "cp1252", 936: "gb18030", 10001: "shift_jis", 10002: "big5", 10003: "euc_kr", 10008: "gb18030"}


class Book(Protocol):
    """An open workbook."""

    def sheets(self) -> dict[str, bool]:
        """Return all worksheets by name, and whether each is visible."""

    def open_sheet(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the merged ranges and the rows of a sheet."""

    def notes(self) -> tuple[str, ...]:
        """Return what the user should know of the rows so far."""

    def hidden_rows(self) -> int:
        """Return how many rows of the sheet are hidden, where the reader tells that."""


class Calamine:
    """Reads all kinds quickly, a whole sheet at once; `named` says that the suffix of the path is that of its content.

    `records` are those of an .xls.
    """

    def __init__(self, path: str, file: IO[bytes], records: Records | None, *, named: bool) -> None:
        from python_calamine import load_workbook

        # A path, if it is Unicode, is read by its suffix; a file by its content, with less to say of what is wrong.
        by_name = named and path.isprintable()
        file.seek(0)
        if b"opendocument" in file.read(128):
            from ftbridge.adapters.sources.workbook.package import with_tabs_and_breaks

            changed = with_tabs_and_breaks(file)
            by_name, file = by_name and changed is file, changed
        file.seek(0)
        self._book = load_workbook(path if by_name else file)
        self._records, self._marks = records, Marks({}, 0)

    def sheets(self) -> dict[str, bool]:
        """Return all worksheets by name, and whether each is visible."""
        from python_calamine import SheetTypeEnum, SheetVisibleEnum

        return {
            sheet.name: sheet.visible == SheetVisibleEnum.Visible
            for sheet in self._book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet
        }

    def open_sheet(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the merged ranges and the rows of a sheet."""
        sheet = self._book.get_sheet_by_name(name)
        right = (sheet.end or (0, 0))[1]
        ranges = [
            (top + 1, first + 1, bottom + 1, min(last, right) + 1)
            for (top, first), (bottom, last) in sheet.merged_cell_ranges or ()
        ]
        rows = _calamine_rows(sheet)
        if self._records:
            with suppress(Exception):  # its records are damaged, and yet they were read
                self._marks = self._records.find_marks(list(self.sheets()).index(name))
        return ranges, _with_errors(self._marks.errors, rows) if self._marks.errors else rows

    def notes(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def hidden_rows(self) -> int:
        """Return how many rows of an .xls are hidden."""
        return self._marks.hidden


def _calamine_rows(sheet: Any) -> Iterator[Cells]:
    """Return the rows of a sheet that calamine has read, those above and cells to the left of its first value too."""
    above, before = sheet.start or (0, 0)
    right = (sheet.end or (0, 0))[1]
    values: Iterator[Sequence[Any]] = sheet.iter_rows()
    if above * (right + 1) > MANY_EMPTY:
        values = chain(repeat((), above), sheet.to_python(skip_empty_area=True))
    rows = ([value if type(value) is str else as_cell(value) for value in row] for row in values)
    left: Cells = [""] * before
    return (left + row if row else row for row in rows) if left else rows


class Openpyxl:
    """Reads .xlsx row by row, and so sheets with cells far away; `shown` gives the text that Excel displays."""

    def __init__(self, path: str, file: IO[bytes], *, named: bool, shown: bool, fill_merged: bool) -> None:
        import warnings

        # openpyxl imports numpy where it is there, for a second and much memory, and has no use for it here.
        sys.modules["numpy"] = None  # type: ignore[assignment]
        from openpyxl import load_workbook

        warnings.simplefilter("ignore")
        self._shown, self._fill_merged = shown, fill_merged
        self._fast = partial(Calamine, path, file, None, named=named)
        self._book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        self._unknown: dict[str, None] = {}

    def sheets(self) -> dict[str, bool]:
        """Return all worksheets by name, and whether each is visible."""
        return {page.title: page.sheet_state == "visible" for page in self._book.worksheets}

    def open_sheet(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the rows of a sheet, and its merged ranges where they are to be filled."""
        page = self._book[name]
        page.reset_dimensions()  # what a workbook says of its size can be wrong
        # openpyxl tells what is merged only with the whole sheet in memory.
        ranges = self._fast().open_sheet(name)[0] if self._fill_merged else []
        return ranges, self._rows(page)

    def notes(self) -> tuple[str, ...]:
        """Return the number formats of the rows so far that are not known."""
        formats = joined(", ", (f"`{code}`" for code in self._unknown))
        return (
            (_("stored values are used where the number format is unknown: {formats}").format(formats=formats),)
            if formats
            else ()
        )

    def hidden_rows(self) -> int:
        """Return 0: whoever searches the file for errors counts them."""
        return 0

    def _rows(self, page: Any) -> Iterator[Cells]:
        for number, row in enumerate(page.iter_rows(), 1):
            if number > LAST_ROW:  # openpyxl counts up to any number that the file says
                raise ValueError(_("it has a row below Excel's last"))
            yield ["" if cell.value is None else self._cell(cell) for cell in row]

    def _cell(self, cell: Any) -> Cell:
        if cell.data_type == "e":
            return [str(cell.value)]
        value = unescaped(cell.value) if isinstance(cell.value, str) else cell.value
        if not self._shown:
            return as_cell(value)
        from ftbridge.adapters.sources.workbook.number_formats import displayed_text, is_known_format

        stored, text = as_cell(value), displayed_text(value, cell.number_format)
        if text is None:
            if not is_known_format(cell.number_format):
                self._unknown[cell.number_format] = None
            return stored
        return [*stored, text] if isinstance(stored, list) else text


class Xlrd:
    """Reads .xls of every age, and needs little memory for a sheet that is sparse."""

    def __init__(self, path: str, records: Records | None, encoding: str) -> None:
        import xlrd

        asked = bool(encoding)
        if records and records.version >= BIFF8:
            encoding = "latin-1"  # of no use there, as all text is UTF-16, but one that Python surely has
        elif records and not encoding:
            encoding = CODECS.get(records.codepage or 0, "")
        self._book = xlrd.open_workbook(
            path,
            logfile=open(os.devnull, "w", encoding="utf-8"),  # noqa: PTH123, SIM115 - open as long as the process is
            encoding_override=encoding or None,
            formatting_info=True,
            on_demand=True,
            ragged_rows=True,
            ignore_workbook_corruption=True,
        )
        self._hidden = 0
        sure = not records or records.version >= BIFF8 or asked or records.codepage not in {None, 367, 1252}
        self._note = (
            ""
            if sure
            else _("text is read as {encoding} (a guess; `--encoding` decides)").format(encoding=self._book.encoding)
        )

    def sheets(self) -> dict[str, bool]:
        """Return all worksheets by name, and whether each is visible."""
        states = self._book._sheet_visibility  # noqa: SLF001 - else every sheet would have to be read
        return {name: not state & 3 for name, state in zip(self._book.sheet_names(), states, strict=True)}

    def open_sheet(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the merged ranges and the rows of a sheet."""
        page = self._book.sheet_by_name(name)
        hidden = (row for row, info in page.rowinfo_map.items() if info.hidden and row < page.nrows)
        self._hidden = sum(any(kind not in EMPTY for kind in page.row_types(row)) for row in hidden)
        ranges = [(top + 1, left + 1, bottom, min(right, page.ncols)) for top, bottom, left, right in page.merged_cells]
        return ranges, self._rows(page)

    def notes(self) -> tuple[str, ...]:
        """Return a note on the codec of text before Excel 97 where the file does not tell it."""
        return (self._note,) if self._note else ()

    def hidden_rows(self) -> int:
        """Return how many rows of the sheet are hidden."""
        return self._hidden

    def _rows(self, page: Any) -> Iterator[Cells]:
        for row in range(page.nrows):
            cells = zip(page.row_types(row), page.row_values(row), strict=True)
            yield [
                value if kind == TEXT else self._cell(page, row, at, kind, value)
                for at, (kind, value) in enumerate(cells)
            ]

    def _cell(self, page: Any, row: int, column: int, kind: int, value: Any) -> Cell:
        from xlrd import error_text_from_code

        if kind in EMPTY:
            return ""
        if kind == ERROR:
            return [error_text_from_code.get(value, "#N/A")]
        if kind == BOOLEAN:
            return as_cell(bool(value))
        elapsed = ELAPSED.search(self._format(page.cell_xf_index(row, column)))
        if kind != DATE and not elapsed:
            return as_cell(value)
        return as_cell(date_or_time(value, since_1904=bool(self._book.datemode), elapsed=bool(elapsed)))

    def _format(self, xf: int) -> str:
        """Return the number format of a cell."""
        book = self._book
        form = book.format_map.get(book.xf_list[xf].format_key) if xf < len(book.xf_list) else None
        return form.format_str if form else ""


def date_or_time(value: float, *, since_1904: bool, elapsed: bool) -> Any:
    """Return what a stored number is as a date, a time or both, or as a stretch of time, as calamine gives it.

    It is the number itself where it is beyond them.
    """
    from xlrd.xldate import xldate_as_datetime

    with suppress(OverflowError):
        if elapsed:
            return dt.timedelta(milliseconds=round(value * DAY))
        at = xldate_as_datetime(value, int(since_1904))
        return at if value >= 1 else at.time()
    return value


def _with_errors(errors: dict[int, dict[int, str]], rows: Iterator[Cells]) -> Iterator[Cells]:
    """Yield the rows with their errors, by row and column."""
    for number, row in enumerate(rows, 1):
        for column, error in errors.get(number, {}).items():
            row.extend([""] * (column - len(row)))
            row[column - 1] = [error]
        yield row


def as_cell(value: Any) -> Cell:
    """Return a value as it is sent: dates and times in ISO form, truth as Excel writes it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return [value] if SIXTEEN_DIGITS <= abs(value) < math.inf else value
    if isinstance(value, str):
        return value
    if isinstance(value, dt.datetime):
        return str(value.date() if value.time() == dt.time() else value)
    if isinstance(value, dt.timedelta):
        sign, value = ("-", -value) if value < dt.timedelta() else ("", value)
        minutes, seconds = divmod(value, dt.timedelta(minutes=1))
        left = f"{seconds.total_seconds():.6f}".rstrip("0").rstrip(".")
        return f"{sign}PT{minutes // 60}H{minutes % 60}M{left}S"
    return "" if value is None else str(value)


def unescaped(text: str) -> str:
    """Return `text` with Excel's escapes resolved: `_x000D_` is a carriage return. Halves of pairs stay."""
    return re.sub(r"_x(?![Dd][89A-Fa-f])([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)


def open_book(engine: str, path: str, file: IO[bytes], *, named: bool, fill_merged: bool, encoding: str) -> Book:
    """Return the workbook, opened by a reader: of an .xls, the fast one stands aside where it would misread it."""
    if engine in {"openpyxl", "shown"}:
        return Openpyxl(path, file, named=named, shown=engine == "shown", fill_merged=fill_merged)
    records = None
    if file.read(8).startswith((OLE, *BARE)):
        with suppress(Exception):  # damaged: a reader says so, or reads it all the same
            records = Records(Path(path))
    if engine == "xlrd" or (records and not records.suits_calamine):
        return Xlrd(path, records, encoding)
    return Calamine(path, file, records, named=named)
