"""Rows as an .xlsx file in which a text is always a text, written row by row."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any

# Excel's limits.
CHARACTERS, ROWS = 32_767, 1 << 20
# What XML cannot hold, or changes, and what looks like Excel's own escape of such a character.
_ESCAPED = re.compile("[\0-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_HALF_ESCAPE = re.compile("(?<!_x[0-9A-F]{4})_(x[0-9A-F]{0,4})?$")


def write_sheets(file: IO[bytes], title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write `rows` below a `header` into an .xlsx `file`, in as many sheets as they need: `title`, `title 2`, ...

    A text is no formula, whatever it looks like, and is cut after 32,767 characters.
    """
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    left = iter(rows)
    some, number = [*islice(left, 1)], 1
    while some or number == 1:
        page = book.create_sheet(f"{title} {number}" if number > 1 else title)
        page.freeze_panes = "A2"
        for row in chain([header], some, islice(left, ROWS - 2)):
            page.append(_cells(page, row))
        some, number = [*islice(left, 1)], number + 1
    book.save(file)
    book.close()


def is_too_long(text: str) -> bool:
    """Tell whether a text has more UTF-16 units than Excel takes; few are so long that they have to be counted."""
    return len(text) * 2 > CHARACTERS and len(_escape_for_excel(text)) > CHARACTERS * 2


def _escape_for_excel(text: str) -> bytes:
    """Return a text with Excel's escapes, in UTF-16, whose units Excel counts."""
    return _ESCAPED.sub(lambda match: f"_x{ord(match[0]):04X}_", text).encode("utf-16-le")


def _cells(page: Any, row: Sequence[Any]) -> Iterator[Any]:
    from openpyxl.cell import WriteOnlyCell

    for value in row:
        if not isinstance(value, str):
            yield value
            continue
        text = _escape_for_excel(value)[: CHARACTERS * 2].decode("utf-16-le", "ignore")
        cell = WriteOnlyCell(page, _HALF_ESCAPE.sub("", text) if is_too_long(value) else text)
        cell.data_type = "s"
        yield cell
