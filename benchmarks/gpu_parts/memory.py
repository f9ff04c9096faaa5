"""What a card's memory holds, as nvidia-smi tells it: all processes, and all that CUDA itself takes."""

from gpu_parts.looking import Looking

from ftbridge.launchers.hardware import nvidia
from ftbridge.launchers.hardware.nvidia import Gpu

EVERY = 0.2  # seconds between two looks, beside what nvidia-smi takes
MIB = 1024**2
_QUERY = ("nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits")


def used(cards: list[Gpu]) -> int | None:
    """Return the bytes that are used on the first of `cards` now, None where there is none or it does not tell."""
    for line in nvidia.run_nvidia_smi(*_QUERY).splitlines() if cards else ():  # with its time-out
        uuid, _, size = (cell.strip() for cell in line.partition(","))
        if uuid == cards[0].uuid and size.isdecimal():
            return int(size) * MIB
    return None


class Watch(Looking):
    """Looks at the first of `cards`, again and again; `peak` is the most that was used above what was before.

    torch keeps what it has once taken, so that a peak between two looks is seen by the second. A card that others use
    as well counts theirs.
    """

    every = EVERY

    def __init__(self, cards: list[Gpu]) -> None:
        """Prepare to look at the first of `cards`."""
        super().__init__()
        self._cards = cards
        self._before = self._most = used(cards)

    @property
    def peak(self) -> int | None:
        """Return the bytes, None where there is no card or it does not tell."""
        return None if self._before is None or self._most is None else self._most - self._before

    def look(self) -> None:
        """Take what is used now, where it is told."""
        if self._most is not None:
            self._most = max(self._most, used(self._cards) or 0)
