"""Excel workbooks, read as openpyxl reads them: stored values, one row at a time, text kept to the character.

The first row that is not empty holds the headers. A header that is missing or occurs twice gets its column's
letter: `[C]`, `Answer [D]`. `TRUE`, `2019-01-02` and `69` are text as Excel and ISO 8601 write it.
"""

import datetime as dt
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ftbridge.adapters.columns import fits, letter
from ftbridge.adapters.values import BadCell, text
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import Reading, Rows, Table
from ftbridge.core.records import Row, Where
from ftbridge.core.strict import closest
from ftbridge.dataset_info.presets import preset_of

SUFFIXES = {".xlsx", ".xlsm", ".xltx", ".xltm"}
OTHERS = {
    ".xls": "an old Excel workbook",
    ".xlsb": "a binary Excel workbook",
    ".ods": "an OpenDocument sheet",
}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# All that openpyxl was seen to raise for files that are damaged or no workbook.
BROKEN = (
    *(
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
    ),
    *(zipfile.BadZipFile, zlib.error),
)
BATCH = 1000


def detect(path: Path, head: bytes) -> bool:
    """Tell whether `path` is called a workbook."""
    del head
    return path.suffix.lower() in SUFFIXES | OTHERS.keys()


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open a sheet: `sheet`, else the only visible one, a preset's, or the first with recognised headers."""
    book = _open(path)
    try:
        page = _choose(path, book, reading.sheets[0] if reading.sheets else None)
        start, columns = _header(page)
    except InputError:
        raise
    except BROKEN as error:
        raise _damaged(path, error) from error
    if not columns:
        raise InputError(f"the sheet `{page.title}` of `{path}` is empty")
    rows = _rows(path, book, page, start, columns)
    first = tuple(islice(rows, 100))
    return [
        Table(
            file=path.name,
            columns=columns,
            pieces=[Rows(chain(first, rows))],
            first=first,
            sheet=page.title,
            lettered=True,
        )
    ]


def _open(path: Path) -> Any:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        if why := _no_workbook(path):
            raise InputError(f"`{path}` is {why}")  # noqa: TRY301 - reading the file's head may fail as well
        with warnings.catch_warnings(action="ignore"):
            return load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
    except (*BROKEN, InvalidFileException) as error:
        raise _damaged(path, error) from error


def _no_workbook(path: Path) -> str:
    """Return what `path` is instead of a workbook that can be read, "" for all that is worth trying."""
    if path.name.startswith("~$"):
        return f"only Excel's mark that `{path.name[2:]}` is open; give that file"
    with path.open("rb") as file:
        ole = file.read(len(OLE)) == OLE
        if ole and "EncryptedPackage".encode("utf-16-le") in file.read():
            return "encrypted; open it in Excel and save it without a password"
    suffix = path.suffix.lower()
    if ole or suffix in OTHERS:
        return f"{OTHERS.get(suffix, OTHERS['.xls'])}, which cannot be read; save it as .xlsx"
    return ""


def _damaged(path: Path, error: BaseException) -> InputError:
    if isinstance(error, zipfile.BadZipFile) and not zipfile.is_zipfile(path):
        return InputError(f"`{path}` is no workbook, or only a part of one; save or download it again")
    return InputError(f"`{path}` is a damaged workbook ({error}); open it in Excel and save it again")


def _choose(path: Path, book: Any, sheet: str | None) -> Any:
    pages = {page.title: page for page in book.worksheets}
    visible = [title for title, page in pages.items() if page.sheet_state == "visible"]
    if sheet is not None:
        if sheet not in pages:
            raise InputError(f"`{path}` has no sheet `{sheet}`{closest(sheet, pages)}")
        return pages[sheet]
    if len(visible) == 1:
        return pages[visible[0]]
    if preset := preset_of(visible):
        return pages[preset.sheet]
    headers = {title: _header(pages[title])[1] for title in visible}
    filled = [title for title in visible if headers[title]]
    known = [title for title in filled if fits(headers[title])]
    if known or len(filled) == 1:
        return pages[(known or filled)[0]]
    if not pages or (visible and not filled):
        raise InputError(f"`{path}` holds no sheet with rows")
    hidden = "" if visible else "only hidden sheets, and those are not taken unasked; "
    hidden = hidden or "several sheets, and the headers of none are recognised; "
    raise InputError(f"`{path}` has {hidden}choose with `--sheet`: {', '.join(f'`{title}`' for title in pages)}")


def _header(page: Any) -> tuple[int, tuple[str, ...]]:
    """Return the number of the first row that is not empty, and its cells as unique names; () for none."""
    page.reset_dimensions()  # what a workbook says of its size can be wrong
    with warnings.catch_warnings(action="ignore"):
        for number, cells in enumerate(page.iter_rows(values_only=True), 1):
            names = [text(_plain(cell)).strip() for cell in cells]
            while names and not names[-1]:
                names.pop()
            if names:
                count = Counter(names)
                marked = [
                    name if name and count[name] == 1 else f"{name} [{letter(at)}]".strip()
                    for at, name in enumerate(names, 1)
                ]
                if len(set(marked)) < len(marked):
                    raise InputError(f"the headers of the sheet `{page.title}` are the same in several columns")
                return number, tuple(marked)
    return 0, ()


def _rows(path: Path, book: Any, page: Any, start: int, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows under the headers; empty ones, without values, only where a full one follows."""
    file, title, last, number = path.name, page.title, start, start
    batches = page.iter_rows(min_row=start + 1, max_col=len(columns))
    try:
        while True:
            with warnings.catch_warnings(action="ignore"):
                batch = list(islice(batches, BATCH))
            if not batch:
                return
            for cells in batch:
                number += 1
                values = {
                    column: value if type(value := cell.value) is str and cell.data_type != "e" else _cell(cell)
                    for column, cell in zip(columns, cells, strict=False)
                    if cell.value is not None
                }
                if any(not isinstance(value, str) or value.strip() for value in values.values()):
                    for empty in range(last + 1, number):
                        yield Row(Where(file, empty, title), {})
                    last = number
                    yield Row(Where(file, number, title), values)
    except BROKEN as error:
        raise InputError(f"`{path}` is damaged in the sheet `{title}` after row {number}: {error}") from error
    finally:
        book.close()


def _cell(cell: Any) -> Any:
    return BadCell(str(cell.value)) if cell.data_type == "e" else _plain(cell.value)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, dt.datetime):
        return str(value.date() if value.time() == dt.time() else value)
    return value
