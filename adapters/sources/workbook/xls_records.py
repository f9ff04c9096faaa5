"""What the records of an .xls file tell and its fast reader does not: version, code page, error cells, hidden rows.

A file of Excel 97 and later (BIFF8) has its records in a stream of an OLE file, as one of Excel 5 and 95 (BIFF5) has;
one of Excel 2 to 4 is nothing but records. A record is its type and its length, two bytes each, and its data.
"""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# How a file without OLE begins, from BIFF2 to BIFF8.
BARE = (
    *(b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00"),
    *(b"\x09\x08\x08\x00\x00\x05", b"\x09\x08\x10\x00\x00\x06"),
)
BOF, EOF, CODEPAGE, BOUNDSHEET, FORMULA, BOOLERR, ROW = 0x809, 0xA, 0x42, 0x85, 6, 0x205, 0x208
# Types of the records of cells that hold something.
CELLS = {FORMULA, BOOLERR, 0xBD, 0xFD, 0x203, 0x204, 0x27E}
BIFF8 = 0x600
UTF_16 = 1200
WORKSHEET = 0
HIDDEN = 0x20
# One of these fits wherever an error or a hidden row is; the records are gone through only then.
MARKS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"\x05\x02\x08\x00.{7}\x01",
        rb"\x06\x00.{8}\x02.{5}\xff\xff",
        rb"\x08\x02\x10\x00.{12}[\x20-\x3f\x60-\x7f\xa0-\xbf\xe0-\xff]",
    )
]
unpack_header = Struct("<HH").unpack_from
unpack_number = Struct("<H").unpack_from
unpack_offset = Struct("<I").unpack_from


class Marks(NamedTuple):
    """The errors of a sheet by row and column, from 1, and how many of its rows are hidden."""

    errors: dict[int, dict[int, str]]
    hidden: int


class Records:
    """The records of a workbook; `version` is 0x600 for BIFF8, and `codepage` None where it is not said.

    Raises whatever damage leads to.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data, self._start, length = _find_stream(content)
        self._end = self._start + length
        self.version, self.codepage = 0, None
        self._sheets: list[int] = []
        for kind, at, _ in self._records(self._start):
            if kind == BOF:
                self.version = unpack_number(self._data, at)[0]
            elif kind == CODEPAGE:
                self.codepage = unpack_number(self._data, at)[0]
            elif kind == BOUNDSHEET and self._data[at + 5] == WORKSHEET:
                self._sheets.append(self._start + unpack_offset(self._data, at)[0])

    @property
    def suits_calamine(self) -> bool:
        """Tell whether calamine reads the file as Excel does: BIFF8, with text that is said to be UTF-16."""
        return self.version == BIFF8 and self.codepage in {UTF_16, None}

    def find_marks(self, sheet: int) -> Marks:
        """Return the errors and the number of hidden rows of a worksheet of a BIFF8 file, counted from 0."""
        from xlrd import error_text_from_code

        start, data = self._sheets[sheet], self._data
        end = min((each for each in self._sheets if each > start), default=self._end)
        errors: dict[int, dict[int, str]] = {}
        hidden: set[int] = set()
        filled: set[int] = set()
        if not any(mark.search(data, start, end) for mark in MARKS):
            return Marks(errors, 0)
        for kind, at, length in self._records(start):
            row = unpack_number(data, at)[0] + 1 if length > 1 else 0
            if kind == ROW and length > 12 and data[at + 12] & HIDDEN:  # noqa: PLR2004 - where its flags are
                hidden.add(row)
            elif (code := self._error_code(kind, at)) is not None:
                column = unpack_number(data, at + 2)[0] + 1
                errors.setdefault(row, {})[column] = error_text_from_code.get(code, "#N/A")
            if kind in CELLS:
                filled.add(row)
        return Marks(errors, len(hidden & filled))

    def _error_code(self, kind: int, at: int) -> int | None:
        """Return the code of the error that the record of a cell holds, None where it holds none."""
        data = self._data
        if kind == BOOLERR and data[at + 7]:
            return int(data[at + 6])
        if kind == FORMULA and data[at + 6] == 2 and data[at + 12 : at + 14] == b"\xff\xff":  # noqa: PLR2004
            return int(data[at + 8])
        return None

    def _records(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Yield type, place and length of the records up to the end of the stretch that begins at `at`."""
        depth = 0
        while at + 4 <= self._end:
            kind, length = unpack_header(self._data, at)
            depth += (kind == BOF) - (kind == EOF)  # charts have a stretch of their own within
            yield kind, at + 4, length
            if depth < 1:
                return
            at += 4 + length


def _find_stream(content: mmap.mmap) -> tuple[Any, int, int]:
    """Return the bytes that hold the records, where in them these begin, and their length."""
    if content[: len(OLE)] != OLE:
        return content, 0, len(content)
    from xlrd.compdoc import CompDoc

    with open(os.devnull, "w", encoding="utf-8") as log:  # noqa: PTH123 - no path of a user's
        package = CompDoc(content, logfile=log, ignore_workbook_corruption=True)
        found: tuple[Any, int, int] = package.locate_named_stream("Workbook")
        if found[0] is None:
            found = package.locate_named_stream("Book")
    return found
