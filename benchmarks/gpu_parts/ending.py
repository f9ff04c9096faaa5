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

from gpu_parts.bench import Bench, Row, gib, try_measuring
from gpu_parts.memory import used_memory

from ftbridge.core.errors import FrameworkError
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.runs.record import load_run, stop_run

START_TIMEOUT, END_TIMEOUT = 150, 30  # seconds: until a training steps, until it has left
SLACK = 64 * 1024**2  # bytes by which what is used on an idle GPU moves
SCRIPTS = ("run_backend.py", "generate.py", "guard.py", "distributed.py")
Child = subprocess.Popen[bytes]


def ending_phase(bench: Bench) -> Iterator[Row]:
    """End a training of each framework by SIGKILL, one by Ctrl-C and one by `ftbridge runs stop`."""
    endings = [("SIGKILL", kill_process, "xtuner"), ("SIGKILL", kill_process, "llamafactory")]
    if not bench.rehearse:
        endings += [("Ctrl-C", _press_ctrl_c, "xtuner"), ("runs stop", _stop_run, "llamafactory")]
    for what, end, backend in endings:
        options = {**bench.defaults, "backend": backend, "max_steps": 100_000}
        work = partial(end_training, bench.gpus, bench.project, options, end)
        yield try_measuring({"what": what, "framework": backend}, work)


def end_training(gpus: list[Gpu], project: Path, options: Row, end: Callable[[Child, Path], object]) -> Row:
    """Start `ftbridge train` in `project`, end it once it makes steps, and return what it held and left.

    Raises FrameworkError where something is left after half a minute.
    """
    before, known = used_memory(gpus) or 0, set(project.glob("runs/*"))
    argv = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", "train", *argv], cwd=project, stdin=subprocess.DEVNULL)
    try:
        run = _wait_for_first_step(project, known, child)
        held = (used_memory(gpus) or 0) - before
        begun = time.monotonic()
        end(child, run)
        while (there := remaining_processes(project)) or (used_memory(gpus) or 0) > before + SLACK:
            if time.monotonic() > begun + END_TIMEOUT:
                memory = gib((used_memory(gpus) or 0) - before)
                raise FrameworkError(f"after {END_TIMEOUT} s there are still {len(there)} processes and {memory} GiB")
            time.sleep(0.1)
        return {
            "held": gib(held),
            "left": gib((used_memory(gpus) or 0) - before),
            "seconds": round(time.monotonic() - begun, 1),
        }
    finally:
        child.kill()
        child.wait()


def _wait_for_first_step(project: Path, known: set[Path], child: Child) -> Path:
    """Return the folder of the new run once it has logged a step."""
    end = time.monotonic() + START_TIMEOUT
    while child.poll() is None and time.monotonic() < end:
        for run in set(project.glob("runs/*")) - known:
            if (run / "metrics.jsonl").exists():
                return run
        time.sleep(0.2)
    raise FrameworkError("the training did not come to its first step")


def kill_process(child: Child, _run: Path) -> None:
    """End ftbridge so that it can do nothing more."""
    child.kill()
    child.wait()


def _press_ctrl_c(child: Child, _run: Path) -> None:
    child.send_signal(signal.SIGINT)


def _stop_run(_child: Child, run: Path) -> None:
    stop_run(load_run(run))


def remaining_processes(project: Path) -> list[int]:
    """Return the processes that a command of ours in `project` has started and that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if int(folder.name) != os.getpid() and str(project) in command and any(each in command for each in SCRIPTS):
                found.append(int(folder.name))
    return found
