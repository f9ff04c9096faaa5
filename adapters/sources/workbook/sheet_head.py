"""Where the headers of a sheet stand, and what its first rows tell."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from ftbridge.adapters.columns import column_letter, disambiguate_headers
from ftbridge.adapters.mapping.header_rows import FirstRows, HeaderFindings, is_rule
from ftbridge.adapters.mapping.headers import has_question_and_answer
from ftbridge.adapters.sources.workbook.engines import Cell, Cells
from ftbridge.adapters.sources.workbook.reader import Page
from ftbridge.core.records import Reading
from ftbridge.language import gettext as _
from ftbridge.language import ngettext

# Headers are searched in so many rows.
HEADERS_WITHIN = 20


class SheetHead(msgspec.Struct, frozen=True):
    """What the first rows of a sheet tell; its rows begin at `start`, counted from 1.

    `named` says that the columns have their names from a row, and `found` what is to be known about that one.
    """

    page: Page
    columns: tuple[str, ...]
    start: int
    notes: tuple[str, ...] = ()
    named: bool = True
    found: HeaderFindings = HeaderFindings(0)


def find_head(file: str, page: Page, rows: list[Cells], reading: Reading) -> SheetHead:
    """Return columns and start of a sheet from its first rows; no columns where its header row is empty."""
    header_row = reading.header_row
    if header_row == 0:
        width = max((len(row) for row in rows), default=0)
        return SheetHead(
            page, tuple(column_letter(at) for at in range(1, width + 1)), page.start, page.notes, named=False
        )
    names = [[*map(header_text, row)] for row in rows]
    at = _header_at(names) if header_row is None else header_row - page.start
    columns = disambiguate_headers(names[at] if 0 <= at < len(rows) else [])
    if not columns:
        return SheetHead(page, (), page.start)
    sheet = FirstRows(f"{file} {page.name}", "row", names, before=page.start - 1)
    found = sheet.examine_headers(at, columns, requested=header_row is not None)
    start = page.start + found.start
    notes = [*page.notes, *_notes_above(page, at, titled=header_row is None and any(map(any, names[:at])))]
    notes += found.notes
    if max(map(len, rows[at + 1 :]), default=0) > len(columns):
        notes.append(
            _("values in column {column_letter} and to its right have no header, and are not read").format(
                column_letter=column_letter(len(columns) + 1)
            )
        )
    if page.merged and page.merged[2] >= start and not reading.fill_merged:
        top, left, bottom, right = page.merged
        area = f"{column_letter(left)}{top}:{column_letter(right)}{bottom}"
        notes.append(
            _("only the first of merged cells holds the value, as in {area}; `--fill-merged` gives it to all").format(
                area=area
            )
        )
    return SheetHead(page, columns, start, tuple(notes), found=found)


def _notes_above(page: Page, at: int, *, titled: bool) -> Iterator[str]:
    """Yield notes on hidden rows, and on the header row where the sheet is `titled`: where something is above it."""
    if page.hidden:
        yield ngettext(
            "{hidden:,} row is hidden in the sheet `{name}`, as by a filter, and read as well",
            "{hidden:,} rows are hidden in the sheet `{name}`, as by a filter, and read as well",
            page.hidden,
        ).format(hidden=page.hidden, name=page.name)
    if titled:
        yield _("the headers of the sheet `{name}` are in row {start}; `--header-row` chooses another").format(
            name=page.name, start=page.start + at
        )


def _header_at(rows: list[list[str]]) -> int:
    """Return which of `rows` holds the headers.

    Among the first twenty, it is the first with a recognised question and answer; else, in a table of several
    columns, the first that is only text, all different, and fills more than half of the usual width, as titles and
    notes do not; else the first that is not empty.
    """
    names = [[*filter(None, row)] for row in rows]
    filled = [(at, row) for at, row in enumerate(names[:HEADERS_WITHIN]) if row and not is_rule(row)]
    widths = Counter(len(row) for row in names if row)
    usual = max(widths, key=lambda width: (widths[width], width), default=0)
    if known := [at for at, row in filled if has_question_and_answer(row)]:
        return known[0]
    for at, row in filled:
        if len(set(row)) == len(row) and all(map(_is_text, row)) and 2 * len(row) > usual > 1:
            return at
    return filled[0][0] if filled else 0


def _is_text(name: str) -> bool:
    """Tell whether a cell is more than a number or a date."""
    return any(map(str.isalpha, name)) or not any(map(str.isdigit, name))


def header_text(cell: Cell) -> str:
    """Return a cell as a header; an error is none."""
    if isinstance(cell, list):
        return "" if isinstance(cell[0], str) else header_text(cell[-1])
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()
