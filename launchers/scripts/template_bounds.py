"""What a chat template may take of time and memory for one conversation."""

import resource
import signal
import threading
from pathlib import Path

# What an honest template needs for one conversation, many times over: of the processor, and of memory.
SECONDS, MEMORY = 4, 1 << 31


class Bounds:
    """Bounds what a template may take: it can come from anywhere, and no sandbox of Jinja keeps it from running on.

    Only a main thread hears of the time. What is asked of the kernel is asked once, as each conversation is rendered
    within these bounds.
    """

    def __init__(self) -> None:
        """Look at what the process holds already."""
        self.usual = resource.getrlimit(resource.RLIMIT_DATA)
        file = Path("/proc/self/statm")
        held = int(file.read_text("ascii").split()[5]) * resource.getpagesize() if file.is_file() else 0
        hard = self.usual[1]
        self.while_rendering = held + MEMORY if hard < 0 else min(held + MEMORY, hard), hard
        self.hears = threading.current_thread() is threading.main_thread()
        if self.hears:
            signal.signal(signal.SIGVTALRM, _take_too_long)

    def __enter__(self) -> None:
        """Have what follows raise TimeoutError or MemoryError beyond the bounds."""
        resource.setrlimit(resource.RLIMIT_DATA, self.while_rendering)
        if self.hears:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)

    def __exit__(self, *_: object) -> None:
        """Lift them."""
        if self.hears:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, self.usual)


def _take_too_long(*_: object) -> None:
    raise TimeoutError(f"it takes more than {SECONDS} seconds")
