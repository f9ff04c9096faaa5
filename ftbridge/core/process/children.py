"""Processes that end with us: whatever we start goes when we do, however suddenly, with all that it has started.

A guard (guard.py) stands between; only what shall outlive us, as `train --detach` does, is started without one.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

GUARD = Path(__file__).with_name("guard.py")
LAST_LINES = 15


def guarded(command: Sequence[str], grace: float = 0) -> list[str]:
    """Return what is to be started so that `command` ends with this process: its own output and exit status.

    `terminate` ends it with all its descendants, at once, or, where it was started in a session of its own, after
    `grace` seconds; `kill` would leave what it has started. A command that cannot be started is status 127, with the
    reason on its stderr.
    """
    hear_of_children()
    return [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(grace), *command]


def hear_of_children() -> None:
    """Let this process hear how its children end, also where it was started with SIGCHLD ignored, as by some inits."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def run(
    command: Sequence[str], *, given: bytes | None = None, timeout: float | None = None, **options: Any
) -> "subprocess.CompletedProcess[Any]":
    """Return how `command` ended, as subprocess.run does, but guarded; `given` goes to its stdin.

    Raises subprocess.TimeoutExpired where it takes longer than `timeout` seconds.
    """
    options.setdefault("stdin", subprocess.DEVNULL if given is None else subprocess.PIPE)
    with subprocess.Popen(guarded(command), **options) as process:
        try:
            output, errors = process.communicate(given, timeout)
        except BaseException:
            process.terminate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def last_lines(written: Iterable[str], indent: str = "") -> str:
    """Return the last lines that a process wrote, as a message about its failure shows them."""
    return "\n".join(indent + line.rstrip() for line in deque(written, LAST_LINES))
