"""Child processes in a group of their own: started, watched, and never left behind."""

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftbridge.core.process.children import guarded
from ftbridge.core.records import Launch
from ftbridge.launchers.process.environment import inherited_variables

GRACE = 10  # seconds between asking a group to end and killing it
SAVE_SECONDS = 600  # that a program may take to end of itself, once it was asked to


def execute(
    launch: Launch, log: Path, watch: Callable[[], None], ask_to_end: Callable[[int], bool] = lambda _signal: False
) -> int:
    """Run `launch` to its end and return the exit status; its output goes to `log`.

    Twice a second `watch` is called.
    Ctrl-C, SIGTERM and a terminal that closes call `ask_to_end` with the signal's number. Where it tells that the
    program will end of itself, that is waited for, SAVE_SECONDS at most. Where it does not, and at a second Ctrl-C or
    SIGTERM, all that was started is ended, and KeyboardInterrupt raised; a killed watcher ends it as well. A program
    that cannot be started is status 127, with the reason in the log.
    """
    with log.open("ab") as output, _interrupts(ask_to_end) as out_of_time:
        child = subprocess.Popen(
            guarded(launch.argv, GRACE),
            cwd=launch.cwd,
            env={**inherited_variables(), **launch.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(timeout=0.5)
                watch()
                if out_of_time():
                    raise KeyboardInterrupt
        finally:
            end_group(child)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End the guard with all it has started: by SIGTERM, and by SIGKILL to its group where it does not answer."""
    try:
        _terminate_and_wait(child, GRACE + 5)  # the guard itself waits for GRACE seconds
    except BaseException:  # a second Ctrl-C ends the waiting, not the killing, which is the guard's
        _terminate_and_wait(child, 3)
        raise
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _terminate_and_wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=seconds)


@contextmanager
def _interrupts(ask_to_end: Callable[[int], bool]) -> Iterator[Callable[[], bool]]:
    """Handle signals as `execute` says; yields what tells whether a program that was asked to end has had its time."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield lambda: False
        return
    first, end = 0, math.inf

    def interrupt(number: int, _frame: object) -> None:
        nonlocal first, end
        if first and number == signal.SIGHUP:  # shells send another one after the terminal's own
            return
        is_first, first = not first, first or number
        if not is_first or not ask_to_end(number):
            raise KeyboardInterrupt
        end = time.monotonic() + SAVE_SECONDS

    # Under nohup a closed terminal is ignored, and stays so, as does Ctrl-C in the background of a script.
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield lambda: time.monotonic() > end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
