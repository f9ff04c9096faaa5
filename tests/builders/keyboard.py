"""Somebody at a terminal: starts a program there, reads what it shows, and types."""

import fcntl
import io
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 120  # seconds


class Terminal:
    """A terminal with a program in it."""

    def __init__(self, process, terminal):
        self.process, self.terminal = process, terminal
        self._raw = b""  # shown since the last `wait`
        self.shown = b""  # from the beginning on

    def wait(self, text):
        """Read until `text` is shown; return all that was shown up to its end."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self._raw:
            alive = self._read() and time.monotonic() < end
            assert alive, f"no {text!r} in {self._raw.decode(errors='replace')!r}"
        shown, _, self._raw = self._raw.partition(text.encode())
        return shown.decode(errors="replace") + text

    def press(self, key, text):
        """Press `key` until `text` is shown: readline misses a Ctrl-C that comes just before it begins to wait."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self._raw:
            assert time.monotonic() < end, f"no {text!r} in {self._raw.decode(errors='replace')!r}"
            time.sleep(0.5)
            self.type(key)
            again = time.monotonic() + 10
            while text.encode() not in self._raw and time.monotonic() < again:
                assert self._read(), f"it ended before {text!r}"
        self.wait(text)

    def more(self):
        """Read until anything is shown."""
        while not self._raw:
            assert self._read(), "nothing more was shown"

    def type(self, text):
        os.write(self.terminal, text.encode(errors="surrogateescape"))

    def end(self):
        """Read until the program ends; return its exit code."""
        end = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < end, f"it does not end: {self._raw.decode(errors='replace')!r}"
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def _read(self):
        if not select.select([self.terminal], [], [], 1)[0]:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:  # Linux's way to say that the program has closed its end
            data = b""
        self._raw += data
        self.shown += data
        return bool(data)


@contextmanager
def terminal(*arguments: str, columns: int = 100, **env: str) -> Iterator[Terminal]:
    """Run Python with `arguments` in a terminal of `columns` columns, and `env` for its language."""
    process, opened = pty.fork()
    if not process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "COLUMNS"))}
        os.execve(sys.executable, [sys.executable, *arguments], {**kept, "TERM": "xterm", **env})  # noqa: S606
    fcntl.ioctl(opened, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield Terminal(process, opened)
    finally:
        os.close(opened)


def show_on_terminal(monkeypatch):
    """Put a terminal of 100 columns in place of stderr, and return what is written to it as a stream.

    To be called in the test itself: pytest changes stderr after the fixtures.
    """
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return screen
