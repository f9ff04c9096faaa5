"""Reads a workbook's cells in a process of its own, with a bound on its memory.

A file can make a reader ask for any amount of memory, or crash it: that process ends, and this one tells of it.
It also reads while this one writes. What it sends are the messages below, each after its length.
"""

import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any, Literal, cast

import msgspec

from ftbridge.core.errors import InputError

Engine = Literal["calamine", "openpyxl", "shown"]
# A cell as it is sent: dates are text by then, an empty cell is "", an error is alone in a list.
Cell = str | float | int | list[str]
Cells = list[Cell]
# Merged cells by first row, first column, last row and last column, from 1.
Ranges = list[tuple[int, int, int, int]]
BATCH = 250
LAST_ROW = 1 << 20
MIB = 1 << 20
# What a reader may use: much for a small file, and more for a large one, whose rows are many.
MEMORY = 384 * MIB
MEMORY_PER_BYTE = 8
MOST_MEMORY = 2048 * MIB


class Order(msgspec.Struct, frozen=True):
    """What to read: all rows of the one sheet in `sheets`, or the first rows of each; () for all visible ones.

    calamine is the fast reader, openpyxl needs little memory for a sheet that is sparse, and "shown" is openpyxl
    giving the text that Excel displays. `named` says that the file's suffix is that of its content.
    """

    path: str
    named: bool
    engine: Engine
    sheets: tuple[str, ...] = ()
    fill_merged: bool = False


class Sheets(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All sheets of the workbook by name, and whether each is visible; comes first."""

    visible: dict[str, bool]


class Page(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A sheet whose rows follow: from row `start` (from 1), those before are empty.

    `merged` is the last of its merged ranges, () where there is none; `notes` are told to the user; `more` says that
    there is more than one batch of rows.
    """

    name: str
    start: int
    merged: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    more: bool = False


class Batch(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Rows in order, each without the empty cells at its end."""

    rows: list[Cells]


Message = Sheets | Page | Batch


class OutOfMemoryError(InputError):
    """The workbook needs more memory than its size explains."""


def messages(order: Order) -> Iterator[Message]:
    """Yield what the reading process sends: Sheets, then for each sheet its Page and its rows.

    Raises OutOfMemoryError, and InputError with a sentence for all else that keeps a workbook from being read.
    """
    command = [sys.executable, "-P", "-m", __name__, json.dumps(msgspec.to_builtins(order))]
    decoder = msgspec.msgpack.Decoder(Message)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "RUST_BACKTRACE": "0"},
        )
        pipe = cast("IO[bytes]", process.stdout)
        try:
            while len(length := pipe.read(4)) == 4:  # noqa: PLR2004 - bytes of a length
                yield decoder.decode(pipe.read(int.from_bytes(length, "little")))
            if process.wait():
                errors.seek(0)
                raise _failure(order, errors.read().decode(errors="replace"))
        finally:
            pipe.close()
            process.kill()
            process.wait()


def _failure(order: Order, output: str) -> InputError:
    """Return what the last words of the reading process mean."""
    path = order.path
    if any(words in output for words in ("memory allocation of", "MemoryError", "Cell limit exceeded")):
        return OutOfMemoryError(
            f"`{path}` needs more memory than a workbook of its size should; "
            "delete what lies far outside of its tables, or save them as CSV"
        )
    if "PasswordError" in output:
        return InputError(f"`{path}` is encrypted; open it in Excel and save it without a password")
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("note:")]
    reason = lines[-1].rpartition("Error: ")[2][:200] if lines else "its reader crashed"
    if order.engine == "shown":
        return InputError(f"`{path}` cannot be read with `--as-shown` ({reason}); leave that out")
    return InputError(f"`{path}` is a damaged workbook ({reason}); open it in Excel and save it again")


def main() -> None:
    """Carry out the order that is the first argument; what goes wrong ends the process, and its last words say why."""
    order = msgspec.convert(json.loads(sys.argv[1]), Order)
    _limit_memory(Path(order.path))
    with Path(order.path).open("rb") as file:
        book = _Calamine(file, order) if order.engine == "calamine" else _Openpyxl(file, order)
        visible = book.sheets()
        _send(Sheets(visible))
        chosen = order.sheets or tuple(name for name in visible if visible[name])
        for name in chosen if visible.keys() >= set(chosen) else ():
            _send_sheet(order, book, name, whole=len(chosen) == 1)


def _send_sheet(order: Order, book: "_Calamine | _Openpyxl", name: str, *, whole: bool) -> None:
    ranges, rows = book.open(name)
    batches = _batches(filled(rows, ranges) if order.fill_merged else rows)
    start, batch = 1, next(batches, [])
    while batch and not any(batch):
        start, batch = start + len(batch), next(batches, [])
    above = len([*takewhile(lambda row: not row, batch)])
    batch = batch[above:]
    following = next(batches, [])
    _send(Page(name, start + above, max(ranges, default=()), book.notes(), more=bool(following)))
    while batch:
        _send(Batch(batch))
        batch, following = (following, next(batches, [])) if whole else ([], [])


def _send(message: Message) -> None:
    data = msgspec.msgpack.encode(message)
    sys.stdout.buffer.write(len(data).to_bytes(4, "little") + data)
    sys.stdout.buffer.flush()


def _batches(rows: Iterator[Cells]) -> Iterator[list[Cells]]:
    while batch := list(islice(rows, BATCH)):
        for row in batch:
            while row and row[-1] == "":
                row.pop()
        yield batch


def _limit_memory(path: Path) -> None:
    if sys.platform == "linux":
        import resource

        _, already = resource.getrlimit(resource.RLIMIT_AS)
        most = min(MEMORY + MEMORY_PER_BYTE * path.stat().st_size, MOST_MEMORY)
        most = most if already == resource.RLIM_INFINITY else min(most, already)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Calamine:
    def __init__(self, file: IO[bytes], order: Order) -> None:
        from python_calamine import load_workbook

        # A path, if it is Unicode, is read by its suffix; a file by its content, with less to say of what is wrong.
        by_name = order.named and order.path.isprintable()
        if b"opendocument" in file.read(128):
            from ftbridge.adapters.workbook_file import with_characters

            changed = with_characters(file)
            by_name, file = by_name and changed is file, changed
        file.seek(0)
        self._book = load_workbook(order.path if by_name else file)

    def sheets(self) -> dict[str, bool]:
        from python_calamine import SheetTypeEnum, SheetVisibleEnum

        return {
            sheet.name: sheet.visible == SheetVisibleEnum.Visible
            for sheet in self._book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet
        }

    def open(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the merged ranges and the rows of a sheet."""
        sheet = self._book.get_sheet_by_name(name)
        left: Cells = [""] * (sheet.start or (0, 0))[1]
        right = (sheet.end or (0, 0))[1]
        ranges = [
            (top + 1, first + 1, bottom + 1, min(last, right) + 1)
            for (top, first), (bottom, last) in sheet.merged_cell_ranges or ()
        ]
        rows = ([value if type(value) is str else as_cell(value) for value in row] for row in sheet.iter_rows())
        return ranges, (left + row for row in rows) if left else rows

    def notes(self) -> tuple[str, ...]:
        return ()


class _Openpyxl:
    def __init__(self, file: IO[bytes], order: Order) -> None:
        import warnings

        # openpyxl imports numpy where it is there, for a second and much memory, and has no use for it here.
        sys.modules["numpy"] = None  # type: ignore[assignment]
        from openpyxl import load_workbook

        warnings.simplefilter("ignore")
        self._order, self._file = order, file
        self._book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        self._unknown: dict[str, None] = {}

    def sheets(self) -> dict[str, bool]:
        return {page.title: page.sheet_state == "visible" for page in self._book.worksheets}

    def open(self, name: str) -> tuple[Ranges, Iterator[Cells]]:
        """Return the rows of a sheet, and its merged ranges where they are to be filled."""
        page = self._book[name]
        page.reset_dimensions()  # what a workbook says of its size can be wrong
        # openpyxl tells what is merged only with the whole sheet in memory.
        ranges = _Calamine(self._file, self._order).open(name)[0] if self._order.fill_merged else []
        return ranges, self._rows(page)

    def notes(self) -> tuple[str, ...]:
        """Return what the user should know of the rows so far."""
        formats = ", ".join(f"`{code}`" for code in self._unknown)
        return (f"stored values are given where the number format is not known: {formats}",) if formats else ()

    def _rows(self, page: Any) -> Iterator[Cells]:
        for number, row in enumerate(page.iter_rows(), 1):
            if number > LAST_ROW:  # openpyxl counts up to any number that the file says
                raise ValueError("it has a row below Excel's last")
            yield [self._cell(cell) for cell in row]

    def _cell(self, cell: Any) -> Cell:
        if cell.data_type == "e":
            return [str(cell.value)]
        value = unescaped(cell.value) if isinstance(cell.value, str) else cell.value
        if value is None or self._order.engine != "shown":
            return as_cell(value)
        from ftbridge.adapters.number_formats import known, shown

        text = shown(value, cell.number_format)
        if text is None and not known(cell.number_format):
            self._unknown[cell.number_format] = None
        return as_cell(value) if text is None else text


def as_cell(value: Any) -> Cell:
    """Return a value as it is sent: dates and times in ISO form, truth as Excel writes it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (str, int, float)):
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


def filled(rows: Iterable[Cells], ranges: Ranges) -> Iterator[Cells]:
    """Yield the rows with the value of each merged range's first cell in all of its cells."""
    waiting = sorted(ranges, reverse=True)
    active: list[tuple[int, int, int, Cell]] = []
    for number, row in enumerate(rows, 1):
        active = [each for each in active if each[2] >= number]
        while waiting and waiting[-1][0] <= number:
            _, first, bottom, last = waiting.pop()
            active.append((first, last, bottom, row[first - 1] if first <= len(row) else ""))
        for first, last, _, value in active:
            row += [""] * (last - len(row))  # noqa: PLW2901 - a row of our own
            row[first - 1 : last] = [value] * (last - first + 1)
        yield row


if __name__ == "__main__":
    main()
