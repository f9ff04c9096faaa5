"""Small trainings by the command line, and the processes that they start."""

import time
from pathlib import Path

from ..conftest import SMALL  # noqa: TID252

BACKENDS = ["xtuner", "llamafactory"]


def train_command(backend):
    """Return the words of `ftbridge train` for a small training of the sample."""
    options = {**SMALL, "dataset": "medqa", "backend": backend}
    return ["train", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())]


def wait_for(ready):
    """Wait until `ready()` is true; returns what it gave."""
    end = time.monotonic() + 600  # which only a failure waits for, or a very slow machine
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.2)
    raise TimeoutError


def processes(folder):
    """Return the processes that were started for the run in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder / "launch.json").encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def rank_process(folder, rank):
    """Return the process of the run in `folder` that is `rank` of its training."""
    for process in processes(folder):
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
            return process
    raise LookupError(rank)
