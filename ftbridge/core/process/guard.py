"""Stand between a process and what it started: nothing outlives this process, nor this process the one it works for.

Run by children.py: `python guard.py WATCHER_PID GRACE COMMAND...`. It imports nothing of ftbridge, and little else:
each start of it is waited for. It ends with the command's own status, even where that is a signal. When it is
asked (SIGTERM), or the watcher dies, of whatever and however suddenly, all descendants are killed, also those in
sessions of their own, as torchrun's workers are; as the head of a session it asks its group before, and waits for
GRACE seconds. The same happens to what the command leaves behind at its end.
"""

import os
import signal
import sys
import time
from contextlib import suppress

LINUX = sys.platform == "linux"
# From <linux/prctl.h>; both outlive an exec.
SIGNAL_AT_PARENTS_DEATH, ADOPT_ORPHANS = 1, 36
PULSE = 0.5  # seconds between two looks at the watcher
# What ends the guard: it must kill first. Ctrl-C is for the command, which has got it as well.
ASKED = {signal.SIGTERM} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else {signal.SIGTERM, signal.SIGHUP}
BLOCKED = ASKED | {signal.SIGCHLD, signal.SIGINT}


def prctl(option: int, value: int) -> None:
    """Ask the kernel for something about this process (Linux; elsewhere only the group is ended)."""
    if LINUX:
        with suppress(ImportError):  # a Python that was built without libffi
            import ctypes

            ctypes.CDLL(None).prctl(option, value)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of `parent` that started it ends; at once where it has."""
    prctl(SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that line
        os._exit(1)


def become_guard(watcher: int, grace: float = 0) -> None:
    """Return in a new child process; this one, from now on its guard, ends with it and never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody hears of a child's end
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    prctl(ADOPT_ORPHANS, 1)
    guard = os.getpid()
    child = os.fork()
    if not child:
        end_with_parent(guard)  # it has one thread, so the kernel's signal tells no other end
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    status = _watch_child(child, watcher)
    if status is None:
        status = 128 + signal.SIGTERM
        if grace and os.getpgrp() == guard:
            os.killpg(0, signal.SIGTERM)
            while _next_signal(0) not in {None, signal.SIGTERM}:  # it comes here as well
                pass
            _wait_for(child, grace)
    _end_descendants()
    if status < 0:  # end as the child did, without a second core file
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        os.kill(guard, -status)
    os._exit(status)


def _watch_child(child: int, watcher: int) -> int | None:
    """Wait for the end of `child` and return its status, negative for a signal; None where it is to be ended."""
    while os.getppid() == watcher:  # looked at again and again: a signal of the kernel's comes for a mere thread, too
        if (status := _reap_children(child)) is not None:
            return status
        if _next_signal(PULSE) in ASKED:
            break
    return None


def _wait_for(child: int, seconds: float) -> None:
    """Wait for the end of `child`, at most so long, and not where it is asked again to hurry."""
    end = time.monotonic() + seconds
    while _reap_children(child) is None and (left := end - time.monotonic()) > 0:
        if _next_signal(min(left, PULSE)) in ASKED:
            return


def _reap_children(child: int) -> int | None:
    """Reap what has ended, also what was adopted; returns the status of `child` where that is among it."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return os.waitstatus_to_exitcode(ended[1])
    return None


def _next_signal(seconds: float) -> int | None:
    """Wait for one of the blocked signals; returns it, None where none has come."""
    if not LINUX:  # without sigtimedwait
        time.sleep(min(seconds, 0.05))
        came = [number for number in signal.sigpending() if number in ASKED]
        return came[0] if came else None
    info = signal.sigtimedwait(BLOCKED, seconds)
    return info.si_signo if info else None


def _end_descendants() -> None:
    """Kill all that comes from here: whose parent ends becomes our child, so the loop reaches everything."""
    with suppress(ChildProcessError):
        while LINUX:
            os.waitpid(-1, os.WNOHANG)  # raises where nothing is left, as mostly, which saves a look through /proc
            for pid in _child_pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _child_pids() -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slow to import
        with suppress(OSError):
            if name.isdecimal() and _parent_pid(name) == os.getpid():
                found.append(int(name))
    return found


def _parent_pid(pid: str) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[1])


def main() -> None:
    """Become the guard of the command that the arguments hold, and in its child that command."""
    watcher, grace, *command = sys.argv[1:]
    if os.getppid() != int(watcher):  # it died before that line
        sys.exit(1)
    become_guard(int(watcher), float(grace))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {command[0]}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
