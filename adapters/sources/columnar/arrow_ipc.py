"""Messages of Arrow's IPC formats, checked for what they unpack to before a batch is read.

(`pyarrow.ipc.read_message` tells the kind and the end of a message. How many rows a batch has, and how much it unpacks
to, stands in a header that pyarrow does not show: a batch would have to be unpacked to be refused. Nor does it tell a
stream that is cut off between two messages from one that ends there.)
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ftbridge.adapters.sources.columnar.batches import pyarrow_errors
from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _

# What a packed batch may say that it unpacks to.
MOST_UNPACKED = 1 << 30
FILE_MARK = b"ARROW1"
MESSAGE_MARK = b"\xff\xff\xff\xff"
# Kinds of messages.
DICTIONARY = 2
RECORD_BATCH = 3
# Fields of a message, of a record batch in it, and of a dictionary in it (Message.fbs of Arrow's format).
KIND, HEADER, BODY_LENGTH = 1, 2, 3
ROWS, BUFFERS, PACKING = 0, 2, 3
BATCH_OF_DICTIONARY = 1


class BatchRange(NamedTuple):
    """Where a record batch stands in a file, its message included: bytes `start` to `end`, which hold `rows`."""

    start: int
    end: int
    rows: int
    packed: bool


def batch_ranges(path: Path) -> Iterator[BatchRange]:
    """Yield where each record batch of an IPC file or stream stands, without reading it.

    Raises InputError where the stream has no end mark, or a batch would unpack to more than a GiB.
    """
    with pyarrow_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(_first_message(file, size))
        while (start := file.tell()) < size:
            message = _read_header(file, start, size)
            if message is None:
                return
            body, end = file.tell(), file.tell() + message.field_number("q", BODY_LENGTH)
            if not body <= end <= size:
                raise ValueError(_("the message at byte {start} is cut off").format(start=start))
            kind = message.field_number("B", KIND)
            if kind == RECORD_BATCH:
                batch = message.field_table(HEADER)
                _refuse_large_batch(path, file, body, batch)
                yield BatchRange(start, end, batch.field_number("q", ROWS), packed=bool(batch.field_offset(PACKING)))
            elif kind == DICTIONARY:
                _refuse_large_batch(path, file, body, message.field_table(HEADER).field_table(BATCH_OF_DICTIONARY))
            file.seek(end)
        raise ValueError(_("its end mark is missing"))


def _read_header(file: IO[bytes], start: int, size: int) -> "_FlatTable | None":
    """Return the header of the message that starts here, None for the end mark; raises ValueError for neither."""
    mark, length = struct.unpack("<4si", file.read(8))
    if mark != MESSAGE_MARK or not 0 <= length <= size - start:
        raise ValueError(_("no message at byte {start}").format(start=start))
    return _FlatTable.root(file.read(length)) if length else None


def _first_message(file: IO[bytes], size: int) -> int:
    """Return where the messages begin: in a stream with the schema, in a file behind it, at the end mark at last."""
    if file.read(len(FILE_MARK)) != FILE_MARK:
        return 0
    file.seek(size - len(FILE_MARK) - 4)
    (length,) = struct.unpack("<I", file.read(4))
    end = size - len(FILE_MARK) - 4 - length
    file.seek(end)
    footer = _FlatTable.root(file.read(length))
    blocks = [footer.field_table(field) for field in (2, 3) if footer.field_offset(field)]
    return min((each.number_at("q", 4) for each in blocks if each.number_at("I", 0)), default=end - 8)


def _refuse_large_batch(path: Path, file: IO[bytes], body: int, batch: "_FlatTable") -> None:
    """Raise InputError where the buffers of a packed batch, each of which begins with its length, are too large."""
    if not batch.field_offset(PACKING):
        return
    total = 0
    buffers = batch.field_table(BUFFERS)
    for index in range(buffers.number_at("I", 0)):
        offset, length = (buffers.number_at("q", 4 + 16 * index + half) for half in (0, 8))
        if length > 0:
            file.seek(body + offset)
            total += max(struct.unpack("<q", file.read(8))[0], length)
    if total > MOST_UNPACKED:
        raise InputError(
            _("`{path}` holds a batch that unpacks to {total} MiB; write it in batches of some 1000 rows").format(
                path=path, total=total >> 20
            )
        )


class _FlatTable(msgspec.Struct, frozen=True):
    """A table of the flatbuffers in which Arrow writes its headers (https://flatbuffers.dev/internals)."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> "_FlatTable":
        """Return the outermost table."""
        return cls(data, *struct.unpack_from("<I", data))

    def number_at(self, kind: str, offset: int) -> int:
        """Return the number `offset` bytes on."""
        value: int = struct.unpack_from(f"<{kind}", self.data, self.at + offset)[0]
        return value

    def field_offset(self, field: int) -> int:
        """Return how many bytes on a field is, 0 for one that is not there."""
        vtable = _FlatTable(self.data, self.at - self.number_at("i", 0))
        entry = 4 + 2 * field
        return vtable.number_at("H", entry) if entry < vtable.number_at("H", 0) else 0

    def field_number(self, kind: str, field: int) -> int:
        """Return a field that is a number."""
        place = self.field_offset(field)
        return self.number_at(kind, place) if place else 0

    def field_table(self, field: int) -> "_FlatTable":
        """Return a field that is a table or a vector."""
        place = self.field_offset(field)
        return _FlatTable(self.data, self.at + place + self.number_at("I", place))
