"""Reads a workbook's cells in a process of its own, with a bound on its memory.

A file can make a reader ask for any amount of memory, or crash it: that process ends, and this one tells of it.
It also reads while this one writes. What it sends are the messages below, each after its length.
"""

import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import msgspec

from ftbridge.core.errors import InputError

Engine = Literal["calamine", "openpyxl", "shown"]
# A cell as it is sent; dates are text by then, and an empty cell or an error is "".
Cell = str | float | int
Cells = list[Cell]
BATCH = 1000
MIB = 1 << 20
# What a reader may use: much for a small file, and more for a large one, whose rows are many.
MEMORY = 384 * MIB
MEMORY_PER_BYTE = 8
MOST_MEMORY = 2048 * MIB


class Order(msgspec.Struct, frozen=True):
    """What to read: all rows of the one sheet in `sheets`, or the first rows of each; () for all visible ones.

    calamine is the fast reader, openpyxl needs little memory for a sheet that is sparse, and "shown" is openpyxl
    giving the text that Excel displays.
    """

    path: str
    engine: Engine
    sheets: tuple[str, ...] = ()
    fill_merged: bool = False


class Sheets(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All sheets of the workbook by name, and whether each is visible; comes first."""

    visible: dict[str, bool]


class Page(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A sheet whose rows follow: from row `start` (from 1), those before are empty.

    `merged` is the last merged range as first row, first column, last row, last column, () where there is none.
    `notes` are told to the user.
    """

    name: str
    start: int
    merged: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


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
    command = [sys.executable, "-P", "-m", __name__, msgspec.json.encode(order).decode()]
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
                raise _failure(order.path, errors.read().decode(errors="replace"))
        finally:
            pipe.close()
            process.kill()
            process.wait()


def _failure(path: str, output: str) -> InputError:
    """Return what the last words of the reading process mean."""
    if "memory allocation of" in output or "MemoryError" in output:
        return OutOfMemoryError(
            f"`{path}` needs more memory than a workbook of its size should; "
            "delete what lies far outside of its tables, or save them as CSV"
        )
    if "PasswordError" in output:
        return InputError(f"`{path}` is encrypted; open it in Excel and save it without a password")
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("note:")]
    reason = lines[-1].rpartition("Error: ")[2][:200] if lines else "its reader crashed"
    return InputError(f"`{path}` is a damaged workbook ({reason}); open it in Excel and save it again")


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    _limit_memory(Path(order.path))
    book = _Calamine(order) if order.engine == "calamine" else _Openpyxl(order)
    visible = book.sheets()
    _send(Sheets(visible))
    chosen = [name for name in order.sheets or [name for name in visible if visible[name]] if name in visible]
    for name in chosen:
        ranges, rows = book.open(name)
        if order.fill_merged:
            rows = filled(rows, ranges)
        start, batches = 1, _batches(rows)
        batch: list[Cells] = []
        for batch in batches:
            above = next((at for at, row in enumerate(batch) if row), len(batch))
            start += above
            if above < len(batch):
                batch = batch[above:]  # noqa: PLW2901 - the rest of it
                break
        _send(Page(name, start, max(ranges, default=()), book.notes))
        if any(batch):
            _send(Batch(batch))
        for batch in batches if len(chosen) == 1 else ():
            _send(Batch(batch))


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
    if sys.platform != "win32":
        import resource

        most = min(MEMORY + MEMORY_PER_BYTE * path.stat().st_size, MOST_MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Calamine:
    notes = ()

    def __init__(self, order: Order) -> None:
        from python_calamine import load_workbook

        # A path is opened by its suffix, which may be wrong, but a file by its content.
        self.book = load_workbook(Path(order.path).open("rb"))

    def sheets(self) -> dict[str, bool]:
        from python_calamine import SheetTypeEnum, SheetVisibleEnum

        return {
            sheet.name: sheet.visible == SheetVisibleEnum.Visible
            for sheet in self.book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet
        }

    def open(self, name: str) -> tuple[list[tuple[int, ...]], Iterator[Cells]]:
        """Return the merged ranges and the rows of a sheet."""
        sheet = self.book.get_sheet_by_name(name)
        left = [""] * (sheet.start or (0, 0))[1]
        right = (sheet.end or (0, 0))[1]
        ranges = [
            (top + 1, first + 1, bottom + 1, min(last, right) + 1)
            for (top, first), (bottom, last) in sheet.merged_cell_ranges or ()
        ]
        rows = ([value if type(value) is str else as_cell(value) for value in row] for row in sheet.iter_rows())
        return ranges, (left + row for row in rows) if left else rows


class _Openpyxl:
    def __init__(self, order: Order) -> None:
        import warnings

        # openpyxl imports numpy where it is there, for a second and much memory, and has no use for it here.
        sys.modules["numpy"] = None  # type: ignore[assignment]
        from openpyxl import load_workbook

        warnings.simplefilter("ignore")
        self.order = order
        self.book = load_workbook(order.path, read_only=True, data_only=True, keep_links=False)
        self.notes = ()

    def sheets(self) -> dict[str, bool]:
        return {page.title: page.sheet_state == "visible" for page in self.book.worksheets}

    def open(self, name: str) -> tuple[list[tuple[int, ...]], Iterator[Cells]]:
        """Return the rows of a sheet, and its merged ranges where they are to be filled."""
        page = self.book[name]
        page.reset_dimensions()  # what a workbook says of its size can be wrong
        # Without the whole sheet in memory, openpyxl does not tell what is merged.
        ranges = _Calamine(self.order).open(name)[0] if self.order.fill_merged else []
        return ranges, ([self.cell(cell) for cell in row] for row in page.iter_rows())

    def cell(self, cell: Any) -> Cell:
        if cell.data_type == "e":
            return ""
        if self.order.engine == "shown":
            from ftbridge.adapters.number_formats import shown

            return shown(cell.value, cell.number_format)
        value = as_cell(cell.value)
        return unescaped(value) if isinstance(value, str) else value


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


def filled(rows: Iterable[Cells], ranges: list[tuple[int, ...]]) -> Iterator[Cells]:
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
