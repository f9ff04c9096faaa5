"""Wall time and memory of a command, with all the processes that it starts."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """Seconds of wall time, and the peaks of resident memory in MB: of all processes together, and of any one by depth.

    The first of these is the command's own, the second that of a process that it has started, and so on.
    """

    seconds: float
    megabytes: float
    by_depth: tuple[float, ...] = ()


def measure_command(argv: list[str], cwd: Path, source: Path) -> Measured:
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
    by_depth: dict[int, float] = {}
    with subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ended = threading.Thread(target=process.wait)  # which sees the end at once, with nothing to poll
        ended.start()
        while ended.is_alive():
            together = 0.0
            for depth, pid in [(0, process.pid), *_children(process.pid)]:
                resident = _resident_megabytes(pid)
                together += resident
                by_depth[depth] = max(by_depth.get(depth, 0.0), resident)
            peak = max(peak, together)
            ended.join(0.1)
        seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return Measured(seconds, peak, tuple(peak for _, peak in sorted(by_depth.items())))


def best_of(runs: int, commands: Mapping[str, list[str]], source: Path) -> dict[str, Measured]:
    """Return the best of so many runs of each command, by title, taken in turns: a slow moment meets them all.

    They run in the folder of `source`, without what an earlier run has made there.
    """
    folder = source.parent
    found: dict[str, list[Measured]] = {title: [] for title in commands}
    for _ in range(runs):
        for title, command in commands.items():
            for made in ("data", "cache"):
                shutil.rmtree(folder / made, ignore_errors=True)
            found[title].append(measure_command(command, folder, source))
    return {title: min(each) for title, each in found.items()}


def _children(pid: int, depth: int = 1) -> list[tuple[int, int]]:
    """Return the processes that one has started, and these in turn, each with how deep it stands."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in ((depth, child), *_children(child, depth + 1))]


def _resident_megabytes(pid: int) -> float:
    """Return the process's resident memory; pages that processes share count for each of them."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
    except OSError:
        return 0.0
