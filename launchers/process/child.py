"""Child processes in a group of their own: started, watched, and never left behind."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftbridge.core.process.children import guarded
from ftbridge.core.records import Launch
from ftbridge.launchers.process.environment import inherited_variables

GRACE = 10  # seconds between asking a group to end and killing it


def execute(launch: Launch, log: Path, watch: Callable[[], None]) -> int:
    """Run `launch` to its end and return the exit status; its output goes to `log`.

    Twice a second `watch` is called.
    Ctrl-C and SIGTERM end all that was started and raise KeyboardInterrupt; a killed watcher ends it as well. A
    program that cannot be started is status 127, with the reason in the log.
    """
    with log.open("ab") as output, _terminate_as_interrupt():
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
def _terminate_as_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    # A terminal that closes sends SIGHUP; under nohup it is ignored, and stays so.
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
