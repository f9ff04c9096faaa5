"""Wall time and memory of a command, with all the processes that it starts."""

import subprocess
import time
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """Seconds of wall time, and the peak of the proportional memory of all processes, in MB."""

    seconds: float
    megabytes: float


def measured(argv: list[str], cwd: Path) -> Measured:
    """Run a command to its end; raises CalledProcessError where it fails."""
    start = time.perf_counter()
    peak = 0.0
    with subprocess.Popen(argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, [process.pid, *_children(process.pid)])))
            time.sleep(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return Measured(time.perf_counter() - start, peak)


def _children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *_children(child))]


def _memory(pid: int) -> float:
    """Return the process's share of the memory it uses: pages shared by n count 1/n each."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:")), 0.0)
