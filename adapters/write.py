"""Files of samples: one after another as JSON lines or as one JSON array, and copied in another order."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ftbridge.core.files import sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.signedinteger[Any]]

# `datasets` settles the type of `history` on the first 10 MiB of JSON lines, and an empty list is none.
TYPED = 8 << 20
# What stands before, between and after the samples of a file.
LINES = (b"", b"\n", b"\n")
ARRAY = (b"[\n", b",\n", b"\n]\n")
BATCH = 4096
# Samples this far apart are read one by one.
SPAN = 16 << 20


class SampleFile:
    """Samples in a binary file, as JSON lines or one JSON array; with the length of each, where it is known.

    A length includes the separator. Whoever writes a block of samples ends each with `between`; `finish` mends the end
    of an array.
    """

    def __init__(self, file: IO[bytes], *, as_array: bool) -> None:
        self.file = file
        self.samples = 0
        self.head, self.between, self.tail = ARRAY if as_array else LINES
        os.pwrite(file.fileno(), self.head, 0)
        self.size = len(self.head)
        self.lengths = array("I")

    def add(self, samples: int, size: int, lengths: "array[int]") -> None:
        """Count in samples that stand in the file, of `size` bytes together; with their lengths, or none."""
        self.samples += samples
        self.size += size
        self.lengths += lengths

    def append(self, samples: bytes | bytearray, lengths: "array[int]") -> None:
        """Write samples behind those that are there."""
        write_at(self.file.fileno(), samples, self.size)
        self.add(len(lengths), len(samples), lengths)

    def finish(self) -> None:
        """Write the end of the file."""
        end = self.size - len(self.between)
        write_at(self.file.fileno(), self.tail, end)
        os.ftruncate(self.file.fileno(), end + len(self.tail))

    def starts(self) -> "Numbers":
        """Return where each sample begins, and where the last one ends."""
        import numpy as np

        return np.cumsum(np.concatenate(([len(self.head)], np.frombuffer(self.lengths, np.uint32))), dtype=np.int64)


def write_at(handle: int, data: bytes | bytearray, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def copy(source: SampleFile, target: SampleFile, order: "Numbers") -> None:
    """Copy the samples of a file that has the same separators to the end of another, by their numbers from 0."""
    starts = source.starts()
    for at in range(0, len(order), BATCH):
        numbers = order[at : at + BATCH]
        samples = list(_read(source.file.fileno(), starts[numbers], starts[numbers + 1]))
        target.append(b"".join(samples), array("I", map(len, samples)))


def _read(handle: int, starts: "Numbers", ends: "Numbers") -> Iterator[bytes]:
    first, last = int(starts.min()), int(ends.max())
    if last - first > SPAN:
        yield from (
            os.pread(handle, end - start, start) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        )
        return
    block = os.pread(handle, last - first, first)
    for start, end in zip((starts - first).tolist(), (ends - first).tolist(), strict=True):
        yield block[start:end]


def with_history_early(order: "Numbers | None", samples: SampleFile, marks: bytearray) -> "Numbers | None":
    """Return `order` (None: as they stand), with the first sample with earlier turns in front if it comes too late.

    `marks` tells which samples have earlier turns. Else `datasets` takes `history` for a list of nothing, and fails
    at the first pair.
    """
    import numpy as np

    every = np.arange(len(marks)) if order is None else order
    marked = np.flatnonzero(np.frombuffer(marks, np.uint8)[every])
    lengths = np.frombuffer(samples.lengths, np.uint32)
    if not len(marked) or lengths[every[: marked[0]]].sum(dtype=np.int64) <= TYPED:
        return order
    return np.concatenate((every[marked[:1]], np.delete(every, marked[0])))


def all_sha256(paths: Iterable[Path], meanwhile: Callable[[], object]) -> list[str]:
    """Return the sha256 of files, several at a time, and do something else `meanwhile`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        other = pool.submit(meanwhile)
        found = list(pool.map(sha256, paths))
        other.result()
    return found
