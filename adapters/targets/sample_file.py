"""Files of samples: one after another as JSON lines or as one JSON array, some of them copied from other files."""

import os
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from ftbridge.core.files.atomic import sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.integer[Any]]

# `datasets` settles the type of `history` on the first 10 MiB of JSON lines, and an empty list is none.
TYPED_BYTES = 8 << 20
# What stands before, between and after the samples of a file.
LINES = (b"", b"\n", b"\n")
ARRAY = (b"[\n", b",\n", b"\n]\n")
# So many samples are looked at at a time; those that lie this far apart are copied one by one.
BATCH = 1024
SPAN = 4 << 20


class SampleFile:
    """Samples in a binary file, as JSON lines or one JSON array.

    `lengths` are those of the samples, separator included, where they are known; 0 is that of a sample which the format
    cannot hold, and `not_held` counts these. `copies` are further samples, by
    their ascending numbers from 0 in another file that has the same separators; `finish` brings them in. Whoever
    writes a block of samples ends each with `between`.
    """

    def __init__(self, file: IO[bytes], *, as_array: bool) -> None:
        self.file = file
        self.samples = self.not_held = 0
        self.head, self.between, self.tail = ARRAY if as_array else LINES
        os.pwrite(file.fileno(), self.head, 0)
        self.size = len(self.head)
        self.lengths = array("I")
        self.copies: list[tuple[SampleFile, Numbers]] = []
        self.sha256 = ""

    def add(self, samples: int, size: int, lengths: Iterable[int] = (), not_held: int = 0) -> None:
        """Count in samples that stand in the file, of `size` bytes together; with their lengths, or none."""
        self.samples += samples
        self.not_held += not_held
        self.size += size
        self.lengths.extend(lengths)

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """Put what `change` makes of each sample in its place; their lengths must be known."""
        before, self.lengths = self.lengths, array("I")
        between, place, handle = len(self.between), len(self.head), self.file.fileno()
        with TemporaryFile(dir=Path(self.file.name).parent) as old:
            self.file.seek(0)
            copyfileobj(self.file, old)
            old.seek(place)
            self.size = place
            for start in range(0, len(before), BATCH):
                lines = [old.read(length) for length in before[start : start + BATCH]]
                changed = [change(line[:-between]) + self.between if line else b"" for line in lines]
                block = b"".join(changed)
                write_at(handle, block, self.size)
                self.size += len(block)
                self.lengths.extend(map(len, changed))

    def finish(self) -> None:
        """Bring in the copies, write the end of the file, and find its sha256 while the disk gets it."""
        for source, numbers in self.copies:
            self._copy(source, numbers)
        end = max(self.size - len(self.between), len(self.head))
        write_at(self.file.fileno(), self.tail, end)
        os.ftruncate(self.file.fileno(), end + len(self.tail))
        with ThreadPoolExecutor(1) as pool:
            synced = pool.submit(os.fsync, self.file.fileno())
            self.sha256 = sha256(Path(self.file.name))
            synced.result()

    def _copy(self, source: "SampleFile", numbers: "Numbers") -> None:
        import numpy as np

        lengths = np.frombuffer(source.lengths, np.uint32)
        cuts = np.searchsorted(numbers, np.arange(0, len(lengths) + BATCH, BATCH, dtype=numbers.dtype))
        start = len(source.head)
        for at, (low, high) in zip(range(0, len(lengths), BATCH), pairwise(cuts), strict=True):
            sizes = lengths[at : at + BATCH]
            ends = start + np.cumsum(sizes, dtype=np.int64)
            start = int(ends[-1])
            chosen = numbers[low:high] - at
            near = high > low and ends[chosen[-1]] - ends[chosen[0]] < SPAN
            for some in [chosen] if near else chosen.reshape(-1, 1):
                samples = _read_samples(source.file.fileno(), (ends - sizes)[some], ends[some])
                write_at(self.file.fileno(), samples, self.size)
                self.add(len(some), len(samples))


def write_at(handle: int, data: bytes | bytearray, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _read_samples(handle: int, starts: "Numbers", ends: "Numbers") -> bytes:
    first, last = int(starts[0]), int(ends[-1])
    block = os.pread(handle, last - first, first)
    return b"".join(
        block[start:end] for start, end in zip((starts - first).tolist(), (ends - first).tolist(), strict=True)
    )


def find_late_history(order: "Numbers | None", samples: SampleFile, multi_turn: bytearray) -> int | None:
    """Return the place in `order` (None: as they stand) of the first sample with earlier turns, if it comes too late.

    `multi_turn` tells which samples have earlier turns. `datasets` takes a `history` that comes late for a list of
    nothing, and fails at the first pair.
    """
    import numpy as np

    lengths = np.frombuffer(samples.lengths, np.uint32)
    flags = np.frombuffer(multi_turn, np.uint8) * (lengths > 0)
    marked = flags if order is None else flags[order]
    first = int(marked.argmax())
    before = slice(min(first, TYPED_BYTES))
    late = lengths[before if order is None else order[before]].sum(dtype=np.int64) > TYPED_BYTES
    return first if marked[first] and late else None
