"""Parquet files, told by their first bytes, whatever they are called.

A file is cut within its row groups. A process that reads one stretch after another decodes each row group once.
"""

import os
import resource
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.columns import disambiguate_names
from ftbridge.adapters.sources.columnar.batches import (
    LARGE_SIZE,
    PIECE_SIZE,
    ROWS_AT_ONCE,
    pyarrow_errors,
    require_columnar,
    rows_of_batches,
)
from ftbridge.adapters.sources.columnar.class_labels import Labels, labels_in_metadata
from ftbridge.adapters.sources.columnar.parquet_pages import longest_repeated
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading, Row, Table, first_rows
from ftbridge.language import gettext as _

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
# How far text may be packed; files that are made to fill the memory go beyond.
MOST_PACKED = 1000


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the content begins as parquet."""
    del path
    return head.startswith((MAGIC, ENCRYPTED))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the file; raises InputError where it is damaged or encrypted, SetupError without pyarrow."""
    require_columnar(path, reading)
    with pyarrow_errors(path):
        with path.open("rb") as file:
            if file.read(4) == ENCRYPTED:
                raise InputError(_("`{path}` is encrypted; decrypt it first").format(path=path))
        _refuse_crashing(path)
        file = _open_parquet(path)
        columns = disambiguate_names(file.schema_arrow.names)
    labels = labels_in_metadata(file.schema_arrow.metadata)
    first = chain.from_iterable(piece.rows() for piece in _pieces(path, file.metadata, labels))
    pieces = _pieces(path, file.metadata, labels)
    return [Table(file=path.name, columns=columns, pieces=pieces, first=first_rows(first), cut=True)]


def _refuse_crashing(path: Path) -> None:
    """Raise InputError for a file whose damage would end the process that looks at its column chunks.

    pyarrow (26.0.1, `RowGroupMetaData.column`) lets the exception of C++ through for statistics that do not fit their
    column, so a child looks first: some three milliseconds. It reads the footer itself, as that may end it, too.
    """
    ours, childs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, of forking beside threads
        child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            metadata = _open_parquet(path).metadata
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                for at in range(group.num_columns):
                    group.column(at)
        finally:
            os.write(childs, b"alive")  # whatever Python can tell is told below
            os._exit(0)
    os.close(childs)
    with open(ours, "rb") as answer:  # noqa: PTH123 - a pipe
        alive = answer.read()
    with suppress(ChildProcessError):  # where nobody wants to hear of children
        os.waitpid(child, 0)
    if not alive:
        raise InputError(
            _("`{path}` is damaged: its column metadata is inconsistent; write it again").format(path=path)
        )


class RowRange(msgspec.Struct, frozen=True):
    """Rows `start` to `end` of a row group, at most `step` of them."""

    path: Path
    labels: Labels
    group: int
    start: int
    end: int
    step: int

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        with pyarrow_errors(self.path):
            cursor = _cursor(self.path, self.path.stat().st_mtime_ns, self.step)
            yield from rows_of_batches(cursor.read(self.group, self.start, self.end), self.path.name, self.labels)


def _pieces(path: Path, metadata: Any, labels: Labels) -> Iterator[RowRange]:
    """Yield stretches of about a MiB; `metadata` is the file's, as pyarrow reads it from the footer.

    Raises InputError for a row group that unpacks to more than a file should.
    """
    with pyarrow_errors(path):
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = [group.column(at) for at in range(group.num_columns)]
            packed = sum(chunk.total_compressed_size for chunk in chunks)
            if group.total_byte_size > max(LARGE_SIZE, MOST_PACKED * packed):
                unpacked = group.total_byte_size >> 20
                raise InputError(
                    _(
                        "`{path}` unpacks {packed} bytes to {unpacked} MiB; if that is intended, compress it less"
                    ).format(path=path, packed=packed, unpacked=unpacked)
                )
            rows = max(group.num_rows, 1)
            with path.open("rb") as file:
                # In lists, a row has several values.
                repeated = sum(longest_repeated(file, chunk) * chunk.num_values // rows for chunk in chunks)
            in_piece = PIECE_SIZE * rows // max(group.total_byte_size, 1)
            step = max(1, min(5 * ROWS_AT_ONCE, in_piece, LARGE_SIZE // max(repeated, 1)))
            for start in range(0, group.num_rows, step):
                yield RowRange(path, labels, number, start, min(start + step, group.num_rows), step)


class _Cursor:
    """A place in a Parquet file: the row group, the row in it, and an iterator over the batches that follow."""

    def __init__(self, path: Path, step: int) -> None:
        self.file, self.step = _open_parquet(path), step
        self.group, self.row = -1, 0
        self.batches: Iterator[Any] = iter(())

    def read(self, group: int, start: int, end: int) -> list[Any]:
        """Return the rows from `start` to `end` of a row group, as record batches."""
        if group != self.group or start < self.row:
            # Without threads: the pieces are what runs side by side.
            self.batches = self.file.iter_batches(self.step, row_groups=[group], use_threads=False)
            self.group, self.row = group, 0
        found: list[Any] = []
        while self.row < end:
            batch = next(self.batches, None)
            if batch is None:
                raise ValueError(_("row group {group} ends before its row {end}").format(group=group, end=end))
            first, self.row = self.row, self.row + batch.num_rows
            if self.row > start:
                found.append(batch.slice(max(start - first, 0), end - max(start, first)))
        return found


@lru_cache(1)
def _cursor(path: Path, changed: int, step: int) -> _Cursor:
    """Return where this process stands in a file that was last `changed` at that time; the file is opened once."""
    del changed  # a file that was written anew is another
    return _Cursor(path, step)


def _open_parquet(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, buffer_size=PIECE_SIZE, pre_buffer=False)
