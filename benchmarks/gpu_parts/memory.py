"""What a card's memory holds, as nvidia-smi tells it: all processes, and all that CUDA itself takes."""

import subprocess
import threading
from types import TracebackType
from typing import Self

from ftbridge.launchers import machine
from ftbridge.launchers.machine import Gpu

EVERY = 200  # milliseconds
PATIENCE = 20  # seconds until nvidia-smi has said something
MIB = 1024**2
_QUERY = ["nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits"]


def used(cards: list[Gpu]) -> int | None:
    """Return the bytes that are used on the first of `cards` now, None where there is none or it does not tell."""
    if not cards:
        return None
    said = machine._run(*_QUERY)  # noqa: SLF001 - it answers where nvidia-smi hangs or is not there
    return next((size for size in map(_size, said.splitlines()) if size and size[0] == cards[0].uuid), (None, None))[1]


class Watch:
    """Looks five times a second at the first of `cards`; `peak` is the most that was used above what was before.

    torch keeps what it has once taken, so that a peak between two looks is seen by the second. A card that others use
    as well counts theirs.
    """

    def __init__(self, cards: list[Gpu]) -> None:
        """Prepare to look at the first of `cards`."""
        self._cards = cards
        self._sizes: list[int] = []
        self._told = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    @property
    def peak(self) -> int | None:
        """Return the bytes, None where there is no card or it does not tell."""
        return max(self._sizes) - self._sizes[0] if self._sizes else None

    def __enter__(self) -> Self:
        """Begin, once what is used before is known."""
        if self._cards:
            command = [*_QUERY, f"--loop-ms={EVERY}"]
            self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._thread.start()
            self._told.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End nvidia-smi."""
        if self._child:
            self._child.terminate()
            self._thread.join()
            self._child.communicate()

    def _read(self) -> None:
        for line in self._child.stdout if self._child and self._child.stdout else ():
            if (found := _size(line)) and found[0] == self._cards[0].uuid:
                self._sizes.append(found[1])
                self._told.set()


def _size(line: str) -> tuple[str, int] | None:
    uuid, _, size = line.partition(",")
    return (uuid.strip(), int(size) * MIB) if size.strip().isdecimal() else None
