"""Files of samples: written in blocks, hashed on the way, and copied in another order for a split."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

BLOCK = 1 << 20
# `datasets` settles the type of `history` on the first 10 MiB of JSON lines, and an empty list is none.
TYPED = 8 << 20


class SampleFile:
    """Samples in a binary file, as JSON lines or one JSON array; knows where each of them stands.

    A thread hashes and writes one block while the next is made.
    """

    def __init__(self, file: IO[bytes], *, as_array: bool = False) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._head, self._between, self._tail = (b"[\n", b",\n", b"\n]\n") if as_array else (b"", b"\n", b"\n")
        self._block: list[bytes] = []
        self._room = BLOCK
        self._starts = array("Q", [len(self._head)])
        self.marks = bytearray()
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] = self._thread.submit(self._write, self._head)

    def __len__(self) -> int:
        return len(self.marks)

    def add(self, sample: bytes, *, marked: bool = False) -> None:
        """Append one sample; `marked` says that it has earlier turns."""
        if self._room < 0:
            self._flush(self._between)
        self._block.append(sample)
        self._room -= len(sample)
        self._starts.append(self._starts[-1] + len(sample) + len(self._between))
        self.marks.append(marked)

    def finish(self) -> str:
        """Write what is left and return the sha256 of the whole file."""
        self._flush(self._tail)
        self._writing.result()
        self._thread.shutdown()
        self._file.flush()
        return self._hash.hexdigest()

    def length(self, at: int) -> int:
        """Return the number of bytes of sample `at`, counted from 0."""
        return self._starts[at + 1] - self._starts[at] - len(self._between)

    def read(self, order: Iterable[int]) -> Iterator[bytes]:
        """Yield samples of a finished file by their numbers, counted from 0."""
        with open(self._file.fileno(), "rb", buffering=0, closefd=False) as file:
            for at in order:
                file.seek(self._starts[at])
                yield file.read(self.length(at))

    def _flush(self, after: bytes) -> None:
        data = self._between.join(self._block) + after
        self._block.clear()
        self._room = BLOCK
        self._writing.result()  # also raises what went wrong there
        self._writing = self._thread.submit(self._write, data)

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


def with_history_early(order: Sequence[int], samples: SampleFile) -> Sequence[int]:
    """Return `order`, with the first sample that has earlier turns brought to the front if it comes too late.

    Else `datasets` takes `history` for a list of nothing, and fails at the first pair.
    """
    before = 0
    for place, at in enumerate(order):
        if samples.marks[at]:
            return [at, *order[:place], *order[place + 1 :]] if before > TYPED else order
        before += samples.length(at)
    return order
