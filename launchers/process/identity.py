"""Which process of which machine a number on record means: another process may have got it since."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import msgspec


class Host(msgspec.Struct, frozen=True):
    """The machine that a process number is of: its name and id, its boot id, and the container's PID namespace."""

    name: str = ""
    boot: str = ""
    container: str = ""


@cache
def this_machine() -> Host:
    """Return the machine and container that this process runs in."""
    name, boot, container = socket.gethostname(), "", ""
    with suppress(OSError):
        name = f"{name} {Path('/etc/machine-id').read_text(encoding='utf-8').strip()}".strip()
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    with suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return Host(name, boot, container)


def is_hidden(pid: int) -> bool:
    """Tell whether a process is there of which /proc tells nothing: another user's, with `hidepid`."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextmanager
def signal_sender(pid: int, started: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Yield a function that sends a signal to the process `pid` that `started` then, and to no later one of its number.

    Both raise ProcessLookupError where it is gone.
    """
    descriptor = None
    try:
        with suppress(AttributeError, NotImplementedError):
            descriptor = os.pidfd_open(pid)

        def send(number: signal.Signals) -> None:
            if process_start(pid) != started:
                raise ProcessLookupError
            if descriptor is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)

        yield send
    finally:
        if descriptor is not None:
            os.close(descriptor)


def process_start(pid: int) -> int:
    """Return when a process began, in ticks since the machine's start; 0 where it has ended, or without /proc.

    (psutil tells it by the clock, which somebody may set while the process runs.)
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "XZ" else int(fields[19])
