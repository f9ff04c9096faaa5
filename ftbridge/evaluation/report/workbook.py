"""The tables of a report as a workbook, in which a text is always a text."""

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftbridge.core.files.atomic import atomic_file
from ftbridge.evaluation.report.charts import Number, Table, Value
from ftbridge.evaluation.report.words import PLAIN, Words, shown

CREATOR = "ftbridge report"  # in the workbook's properties, by which it is known as ours
CELL = 32_767  # characters that Excel takes
TITLE = 31
# What a spreadsheet takes for the beginning of a formula, blanks before it aside.
FORMULA = re.compile(r"\s*[=+\-@]")
_PROPERTIES = "docProps/core.xml"


class Sheet(NamedTuple):
    """A sheet with its title; columns at `intervals` have three cells: a figure, and the ends of its interval."""

    title: str
    header: tuple[str, ...]
    rows: Iterable[tuple[Value, ...]]
    intervals: frozenset[int] = frozenset()


def write_workbook(path: Path, sheets: Iterable[Sheet]) -> None:
    """Write sheets as a workbook; raises SetupError where it cannot."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    book.properties.creator = CREATOR
    taken: set[str] = set()
    for sheet in sheets:
        page = book.create_sheet(_free_title(sheet.title, taken))
        page.freeze_panes = "A2"
        page.append([_cell(page, name, bold=True) for name in sheet.header])
        for row in sheet.rows:
            page.append([cell for at, value in enumerate(row) for cell in _cells(page, value, at in sheet.intervals)])
    with atomic_file(path) as file:
        book.save(file)


def is_own_workbook(path: Path) -> bool:
    """Tell whether a file is a workbook that a report has written."""
    try:
        with zipfile.ZipFile(path) as book:
            return CREATOR.encode() in book.read(_PROPERTIES)[:5000]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


def table_sheet(table: Table, words: Words) -> Sheet:
    """Return a table as a sheet, in which a figure has three columns, for its interval."""
    wide = frozenset(
        at
        for at in range(len(table.header))
        if any(cell.has_interval for row in table.rows if isinstance(cell := row[at], Number))
    )
    header = (
        title
        for at, name in enumerate(table.header)
        for title in (name, words("from_column", name=name), words("to_column", name=name))[: 3 if at in wide else 1]
    )
    return Sheet(table.title, tuple(header), table.rows, wide)


def _cells(page: Any, value: Value, wide: bool) -> Iterator[Any]:
    if isinstance(value, Number):
        style = "0.000" if value.name in PLAIN else "0.0%"
        numbers = (value.figure.value, value.figure.low, value.figure.high)
        yield from (_cell(page, each, style=style) for each in numbers[: 3 if wide else 1])
    else:
        yield _cell(page, value)
        yield from [_cell(page, None)] * (2 * wide)


def _cell(page: Any, value: str | float | None, *, bold: bool = False, style: str = "") -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN, which no cell holds
        value = None
    text = isinstance(value, str)
    cell = WriteOnlyCell(page, shown(value)[:CELL] if isinstance(value, str) else value)
    if text:
        cell.data_type = "s"  # openpyxl makes a formula of what begins with `=`
        cell.quotePrefix = bool(FORMULA.match(str(value)))  # and a spreadsheet, of more, once somebody edits it
    if bold:
        cell.font = Font(bold=True)
    if style:
        cell.number_format = style
    return cell


def _free_title(title: str, taken: set[str]) -> str:
    """Return a title of a sheet that Excel takes and no other sheet has."""
    plain = re.sub(r"[\[\]:*?/\\]", " ", shown(title)).strip(" '") or "Sheet"
    number, found = 1, plain[:TITLE]
    while found.lower() in taken:
        number += 1
        end = f" {number}"
        found = plain[: TITLE - len(end)] + end
    taken.add(found.lower())
    return found
