"""Stand between a watcher and what it started: nothing outlives this process, nor this process its watcher.

Run by `launchers/process.py` as the head of a session: `python guard.py WATCHER_PID GRACE COMMAND...`. It imports
nothing of ftbridge. It ends with the command's own status, even where that is a signal. When the watcher asks
(SIGTERM) or dies, the group is asked to end and gets GRACE seconds; after any end, all descendants are killed, also
those in sessions of their own, as torchrun's workers are.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

LINUX = sys.platform == "linux"
# From <linux/prctl.h>; both outlive an exec.
SIGNAL_AT_PARENTS_DEATH, ADOPT_ORPHANS = 1, 36


def prctl(option: int, value: int) -> None:
    """Ask the kernel for something about this process (Linux; elsewhere only the group is ended)."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value)


def main() -> int:
    """Run the command and return its status, negative for a signal."""
    watcher, grace, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)
    prctl(ADOPT_ORPHANS, 1)
    prctl(SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)
    if os.getppid() != int(watcher):  # it died before that line
        return 1
    try:
        child = subprocess.Popen(command, preexec_fn=_die_with_guard)  # noqa: PLW1509 - there are no threads here
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 127
    try:
        return child.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=float(grace))
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_descendants()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _die_with_guard() -> None:
    prctl(SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)


def _end_descendants() -> None:
    """Kill all that comes from here: whose parent ends becomes our child, so the loop reaches everything."""
    with suppress(ChildProcessError):
        while LINUX:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(file.parent.name))
    return found


if __name__ == "__main__":
    status = main()
    if status < 0:  # end as the command did, without a second core file
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
