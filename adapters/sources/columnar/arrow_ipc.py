"""Messages of Arrow's IPC formats, checked for what they unpack to before a batch is read.

(`pyarrow.ipc.read_message` tells the kind and the end of a message. How many rows a batch has, and how much it unpacks
to, stands in a header that pyarrow does not show: a batch would have to be unpacked to be refused. Nor does it tell a
stream that is cut off between two messages from one that ends there.)
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.sources.columnar.batches import pyarrow_errors
from ftbridge.core.errors import InputError

# What a packed batch may say that it unpacks to.
UNPACKED = 1 << 30
FILE = b"ARROW1"
MESSAGE = b"\xff\xff\xff\xff"
# Kinds of messages.
DICTIONARY = 2
RECORD_BATCH = 3


def messages(path: Path) -> Iterator[tuple[int, int, int, bool]]:
    """Yield start, end and rows of each record batch, and whether it is packed.

    Raises InputError where the stream has no end mark, or a batch would unpack to more than a GiB.
    """
    with pyarrow_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(_first_message(file, size))
        while (at := file.tell()) < size:
            mark, length = struct.unpack("<4si", file.read(8))
            if mark != MESSAGE or not 0 <= length <= size - at:
                raise ValueError(f"no message at byte {at}")
            if not length:
                return
            message = _Flat.root(file.read(length))
            body, after = file.tell(), file.tell() + message.number("q", 3)
            if not body <= after <= size:
                raise ValueError(f"the message at byte {at} is cut off")
            kind = message.number("B", 1)
            if kind in {RECORD_BATCH, DICTIONARY}:
                batch = message.table(2) if kind == RECORD_BATCH else message.table(2).table(1)
                if packed := bool(batch.place(3)):
                    _check_size(path, file, body, batch)
                if kind == RECORD_BATCH:
                    yield at, after, batch.number("q", 0), packed
            file.seek(after)
        raise ValueError("its end mark is missing")


def _first_message(file: Any, size: int) -> int:
    """Return where the messages begin: in a stream with the schema, in a file behind it, at the end mark at last."""
    if file.read(len(FILE)) != FILE:
        return 0
    file.seek(size - len(FILE) - 4)
    (length,) = struct.unpack("<I", file.read(4))
    end = size - len(FILE) - 4 - length
    file.seek(end)
    footer = _Flat.root(file.read(length))
    blocks = [footer.table(field) for field in (2, 3) if footer.place(field)]
    return min((each.at_number("q", 4) for each in blocks if each.at_number("I", 0)), default=end - 8)


def _check_size(path: Path, file: Any, body: int, batch: "_Flat") -> None:
    """Raise InputError where the buffers of a packed batch, each of which begins with its length, are too large."""
    total = 0
    vector = batch.table(2)
    for index in range(vector.at_number("I", 0)):
        offset, length = (vector.at_number("q", 4 + 16 * index + part) for part in (0, 8))
        if length > 0:
            file.seek(body + offset)
            total += max(struct.unpack("<q", file.read(8))[0], length)
    if total > UNPACKED:
        raise InputError(
            f"`{path}` holds a batch that unpacks to {total >> 20} MiB; write it in batches of some 1000 rows"
        )


class _Flat(msgspec.Struct, frozen=True):
    """A table of the flatbuffers in which Arrow writes its headers (https://flatbuffers.dev/internals)."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> "_Flat":
        """Return the outermost table."""
        return cls(data, *struct.unpack_from("<I", data))

    def at_number(self, kind: str, offset: int) -> int:
        """Return the number `offset` bytes on."""
        value: int = struct.unpack_from(f"<{kind}", self.data, self.at + offset)[0]
        return value

    def place(self, field: int) -> int:
        """Return how many bytes on a field is, 0 for one that is not there."""
        vtable = _Flat(self.data, self.at - self.at_number("i", 0))
        entry = 4 + 2 * field
        return vtable.at_number("H", entry) if entry < vtable.at_number("H", 0) else 0

    def number(self, kind: str, field: int) -> int:
        """Return a field that is a number."""
        place = self.place(field)
        return self.at_number(kind, place) if place else 0

    def table(self, field: int) -> "_Flat":
        """Return a field that is a table or a vector."""
        place = self.place(field)
        return _Flat(self.data, self.at + place + self.at_number("I", place))
