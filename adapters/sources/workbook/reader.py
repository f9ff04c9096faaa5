"""Reads a workbook's cells in a process of its own, with a bound on its memory.

A file can make a reader ask for any amount of memory, or crash it: that process ends, and this one tells of it.
It also reads while this one writes. What it sends are the messages below, each after its length.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Literal, cast

import msgspec

from ftbridge.adapters.sources.workbook.engines import Book, Cell, Cells, Ranges, open_book
from ftbridge.core.errors import InputError
from ftbridge.core.process.guard import become_guard
from ftbridge.language import gettext as _

Engine = Literal["calamine", "openpyxl", "xlrd", "shown"]
ROWS_IN_BATCH = 250
MIB = 1 << 20
# What a reader may use: much for a small file, and more for a large one, whose rows are many.
MEMORY = 384 * MIB
MEMORY_PER_BYTE = 8
MOST_MEMORY = 2048 * MIB


class Order(msgspec.Struct, frozen=True):
    """What to read: all rows of the one sheet in `sheets`, or the first rows of each; () for all visible ones.

    calamine is the fast reader, openpyxl and xlrd need little memory for a sheet that is sparse, and "shown" is
    openpyxl giving the text that Excel displays. `named` says that the file's suffix is that of its content; `encoding`
    is that of the text in an .xls of Excel 95 or before.
    """

    path: str
    named: bool
    engine: Engine
    sheets: tuple[str, ...] = ()
    fill_merged: bool = False
    encoding: str = ""


class Sheets(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """All sheets of the workbook by name, and whether each is visible; comes first."""

    visible: dict[str, bool]


class Page(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A sheet whose rows follow: from row `start` (from 1), those before are empty.

    `merged` is the last of its merged ranges, () where there is none; `notes` are told to the user; `more` says that
    there is more than one batch of rows, and `hidden` how many of them are hidden.
    """

    name: str
    start: int
    merged: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    more: bool = False
    hidden: int = 0


class Batch(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Rows in order, each without the empty cells at its end."""

    rows: list[Cells]


Message = Sheets | Page | Batch


class OutOfMemoryError(InputError):
    """The workbook needs more memory than its size explains."""


class DamagedError(InputError):
    """The reader cannot make sense of the workbook, or crashed; another one may read it."""


def messages(order: Order) -> Iterator[Message]:
    """Yield what the reading process sends: Sheets, then for each sheet its Page and its rows.

    Raises OutOfMemoryError, DamagedError, and InputError for what no other reader can mend.
    """
    command = [sys.executable, "-P", "-m", __name__, str(os.getpid()), json.dumps(msgspec.to_builtins(order))]
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
                raise _reader_error(order, errors.read().decode(errors="replace"))
        finally:
            pipe.close()
            process.terminate()  # its guard, which ends with all that it keeps
            process.wait()


def _reader_error(order: Order, output: str) -> InputError:
    """Return what the last words of the reading process mean."""
    path = order.path
    if any(words in output for words in ("memory allocation of", "MemoryError", "Cell limit exceeded")):
        return OutOfMemoryError(
            _(
                "`{path}` needs more memory than a workbook of its size should; delete stray cells "
                "far outside its tables, or save the tables as CSV"
            ).format(path=path)
        )
    if "PasswordError" in output or "Workbook is encrypted" in output:
        return InputError(_("`{path}` is encrypted; open it in Excel and save it without a password").format(path=path))
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("note:")]
    reason = lines[-1].rpartition("Error: ")[2][:200] if lines else _("its reader crashed")
    if order.engine == "shown":
        return InputError(
            _("`{path}` cannot be read with `--as-shown` ({reason}); leave that out").format(path=path, reason=reason)
        )
    return DamagedError(
        _("`{path}` is a damaged workbook ({reason}); open it in Excel and save it again").format(
            path=path, reason=reason
        )
    )


def main() -> None:
    """Carry out the order that is the second argument; what goes wrong ends the process, and its last words say why.

    The first is the process that reads what is sent; this one ends with it.
    """
    become_guard(int(sys.argv[1]))
    order = msgspec.convert(json.loads(sys.argv[2]), Order)
    _limit_memory(Path(order.path))
    with Path(order.path).open("rb") as file:
        book = open_book(
            order.engine,
            order.path,
            file,
            named=order.named,
            fill_merged=order.fill_merged,
            encoding=order.encoding,
        )
        visible = book.sheets()
        _send(Sheets(visible))
        chosen = order.sheets or tuple(name for name in visible if visible[name])
        if visible.keys() >= set(chosen):
            for name in chosen:
                _send_sheet(order, book, name, whole=len(chosen) == 1)


def _send_sheet(order: Order, book: Book, name: str, *, whole: bool) -> None:
    ranges, rows = book.open_sheet(name)
    batches = _batches(fill_merged_cells(rows, ranges) if order.fill_merged else rows)
    start, batch = 1, next(batches, [])
    while batch and not any(batch):
        start, batch = start + len(batch), next(batches, [])
    above = len([*takewhile(lambda row: not row, batch)])
    batch = batch[above:]
    following = next(batches, [])
    _send(Page(name, start + above, max(ranges, default=()), book.notes(), bool(following), book.hidden_rows()))
    while batch:
        _send(Batch(batch))
        batch, following = (following, next(batches, [])) if whole else ([], [])


def _send(message: Message) -> None:
    data = msgspec.msgpack.encode(message)
    sys.stdout.buffer.write(len(data).to_bytes(4, "little") + data)
    sys.stdout.buffer.flush()


def _batches(rows: Iterator[Cells]) -> Iterator[list[Cells]]:
    while batch := list(islice(rows, ROWS_IN_BATCH)):
        for row in batch:
            while row and row[-1] == "":
                row.pop()
        yield batch


def _limit_memory(path: Path) -> None:
    if sys.platform == "linux":
        import resource

        _unused, already = resource.getrlimit(resource.RLIMIT_AS)
        most = min(MEMORY + MEMORY_PER_BYTE * path.stat().st_size, MOST_MEMORY)
        most = most if already == resource.RLIM_INFINITY else min(most, already)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def fill_merged_cells(rows: Iterable[Cells], ranges: Ranges) -> Iterator[Cells]:
    """Yield the rows with the value of each merged range's first cell in all of its cells."""
    waiting = sorted(ranges, reverse=True)
    active: list[tuple[int, int, int, Cell]] = []
    for number, row in enumerate(rows, 1):
        active = [each for each in active if each[2] >= number]
        while waiting and waiting[-1][0] <= number:
            _unused, first, bottom, last = waiting.pop()
            active.append((first, last, bottom, row[first - 1] if first <= len(row) else ""))
        for first, last, _unused, value in active:
            row += [""] * (last - len(row))  # noqa: PLW2901 - a row of our own
            row[first - 1 : last] = [value] * (last - first + 1)
        yield row


if __name__ == "__main__":
    main()
