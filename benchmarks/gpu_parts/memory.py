"""The used memory of a GPU, by nvidia-smi: of all processes, with what CUDA itself takes."""

from gpu_parts.poller import Poller

from ftbridge.launchers.hardware import nvidia
from ftbridge.launchers.hardware.nvidia import Gpu

INTERVAL = 0.2  # seconds between two polls, beside what nvidia-smi takes
MIB = 1024**2
_QUERY = ("nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits")


def used_memory(gpus: list[Gpu]) -> int | None:
    """Return the bytes that are used on the first of `gpus` now, None where there is none or they are not known."""
    if not gpus:
        return None
    for line in nvidia.run_nvidia_smi(*_QUERY).splitlines():  # with its time-out
        uuid, _, size = (cell.strip() for cell in line.partition(","))
        if uuid == gpus[0].uuid and size.isdecimal():
            return int(size) * MIB
    return None


class PeakMemory(Poller):
    """Polls the used memory of the first of `gpus`; `peak` is the most that was used above what was used before.

    torch keeps what it has once taken, so that a peak between two polls is seen by the second. A GPU that others use
    as well counts theirs.
    """

    interval = INTERVAL

    def __init__(self, gpus: list[Gpu]) -> None:
        """Take the memory that is used before."""
        super().__init__()
        self._gpus = gpus
        self._before = self._most = used_memory(gpus)

    @property
    def peak(self) -> int | None:
        """Return the bytes, None where there is no GPU or its memory is not known."""
        return None if self._before is None or self._most is None else self._most - self._before

    def poll(self) -> None:
        """Take the memory that is used now, where it is known."""
        if self._most is not None:
            self._most = max(self._most, used_memory(self._gpus) or 0)
