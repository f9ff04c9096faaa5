"""The phase of runs that are ended from outside: whether memory and processes go with them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from gpu_parts.bench import Bench, Row, attempt, gib
from gpu_parts.memory import used

from ftbridge.core.errors import FrameworkError
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.runs.record import load_run, stop_run

BEGUN, GONE = 150, 30  # seconds: until a training steps, until it has left
SLACK = 64 * 1024**2  # bytes by which what is used on an idle card moves
SCRIPTS = ("run_backend.py", "generate.py", "guard.py", "distributed.py")
Child = subprocess.Popen[bytes]


def ended(bench: Bench) -> Iterator[Row]:
    """End a training of each framework by SIGKILL, one by Ctrl-C and one by `ftbridge runs stop`."""
    ways = [("SIGKILL", kill, "xtuner"), ("SIGKILL", kill, "llamafactory")]
    if not bench.rehearse:
        ways += [("Ctrl-C", _interrupt, "xtuner"), ("runs stop", _stop, "llamafactory")]
    for what, way, backend in ways:
        options = {**bench.defaults, "backend": backend, "max_steps": 100_000}
        work = partial(end_training, bench.cards, bench.project, options, way)
        yield attempt({"what": what, "framework": backend}, work)


def end_training(cards: list[Gpu], project: Path, options: Row, way: Callable[[Child, Path], object]) -> Row:
    """Start `ftbridge train` in `project`, end it once it makes steps, and return what it held and left.

    Raises FrameworkError where something is left after half a minute.
    """
    before, known = used(cards) or 0, set(project.glob("runs/*"))
    argv = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", "train", *argv], cwd=project, stdin=subprocess.DEVNULL)
    try:
        run = _stepping(project, known, child)
        held = (used(cards) or 0) - before
        begun = time.monotonic()
        way(child, run)
        while (there := left(project)) or (used(cards) or 0) > before + SLACK:
            if time.monotonic() > begun + GONE:
                memory = gib((used(cards) or 0) - before)
                raise FrameworkError(f"after {GONE} s there are still {len(there)} processes and {memory} GiB")
            time.sleep(0.1)
        return {
            "held": gib(held),
            "left": gib((used(cards) or 0) - before),
            "seconds": round(time.monotonic() - begun, 1),
        }
    finally:
        child.kill()
        child.wait()


def _stepping(project: Path, known: set[Path], child: Child) -> Path:
    """Return the folder of the new run once it has logged a step."""
    end = time.monotonic() + BEGUN
    while child.poll() is None and time.monotonic() < end:
        for run in set(project.glob("runs/*")) - known:
            if (run / "metrics.jsonl").exists():
                return run
        time.sleep(0.2)
    raise FrameworkError("the training did not come to its first step")


def kill(child: Child, _run: Path) -> None:
    """End ftbridge so that it can do nothing more."""
    child.kill()
    child.wait()


def _interrupt(child: Child, _run: Path) -> None:
    child.send_signal(signal.SIGINT)


def _stop(_child: Child, run: Path) -> None:
    stop_run(load_run(run))


def left(project: Path) -> list[int]:
    """Return the processes that a command of ours in `project` has started and that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if int(folder.name) != os.getpid() and str(project) in command and any(each in command for each in SCRIPTS):
                found.append(int(folder.name))
    return found
