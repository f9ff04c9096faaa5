"""Wall time and memory of a command, with all the processes that it starts."""

import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """Seconds of wall time, and the peak of the resident memory of all processes together, in MB."""

    seconds: float
    megabytes: float


def measured(argv: list[str], cwd: Path, source: Path) -> Measured:
    """Run a command to its end; raises CalledProcessError where it fails.

    The same for all: `source` is in the page cache, and nothing is left to be written to the disk.
    """
    os.sync()
    with source.open("rb") as file:
        while file.read(1 << 24):
            pass
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    peak = 0.0
    with subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
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
    """Return the process's resident memory; pages that processes share count for each of them."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    except OSError:
        return 0.0
