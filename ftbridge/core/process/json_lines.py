"""A child that is asked and answers in lines of JSON, one object a line."""

import json
import os
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import IO, Any, Self, cast

import msgspec

from ftbridge.core.process.children import guarded, last_lines
from ftbridge.language import gettext as _

SHOWN = 200  # characters of a line that is no JSON


class ChildEndedError(Exception):
    """No answer comes any more: `status` is how the child ended, `messages` are the last lines of its stderr."""

    def __init__(self, status: int, messages: str) -> None:
        """Keep both."""
        super().__init__(messages)
        self.status, self.messages = status, messages


class JsonLinesChild:
    """A guarded child with a pipe to its stdin and one from its stdout; use it in a `with` block, which ends it.

    It has a process group of its own: Ctrl-C at the keyboard is for this process alone.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, pass_fds: Sequence[int] = ()) -> None:
        """Start `command`; it inherits the file descriptors `pass_fds`."""
        self._stderr: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._unsent: deque[bytes] = deque()
        self._sending = threading.Lock()
        self.process = subprocess.Popen(
            guarded(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            pass_fds=pass_fds,
            process_group=0,
        )

    def __enter__(self) -> Self:
        """Return the child, which `close` will end."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    def send(self, record: Mapping[str, Any]) -> None:
        """Write a line to the child; raises BrokenPipeError where it has ended.

        A signal handler and other threads may send too, also while a line is on its way: theirs follows it.
        """
        self._unsent.append(msgspec.json.encode(record) + b"\n")
        while self._unsent and self._sending.acquire(blocking=False):
            try:
                while self._unsent:
                    self._write_bytes(self._unsent.popleft())
            finally:
                self._sending.release()

    def receive(self) -> dict[str, Any]:
        """Wait for the next line of the child and return its object; there is no time limit, as a model may be loaded.

        Raises ChildEndedError where the child ends instead, or writes anything else.
        """
        line = cast("IO[bytes]", self.process.stdout).readline()
        if not line.endswith(b"\n"):  # nothing, or what it has got done of a line
            raise self._ended_error()
        try:
            record = json.loads(line)  # unlike msgspec, it takes half a character, NaN and numbers of any length
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            self.process.terminate()
            raise self._ended_error(
                _("it wrote `{line}`, which is not a JSON object").format(
                    line=line.decode(errors="replace").strip()[:SHOWN]
                )
            )
        return record

    @property
    def is_closed(self) -> bool:
        """Tell whether `close` was called."""
        return cast("IO[bytes]", self.process.stdin).closed

    def close(self) -> None:
        """End the child with all that it has started; what it may still be computing is dropped."""
        self.process.terminate()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._stderr):
            cast("IO[Any]", stream).close()

    def _write_bytes(self, data: bytes) -> None:
        # Not through the stream's buffer, which refuses a signal handler that writes while it is in use.
        descriptor = cast("IO[bytes]", self.process.stdin).fileno()
        while data:  # a signal may cut it
            data = data[os.write(descriptor, data) :]

    def _ended_error(self, *more: str) -> ChildEndedError:
        """Return how the child ended, once it has said its last words."""
        self.process.wait()  # the guard holds the child's stdout too: where that has ended, the child has
        self._stderr.seek(0)
        return ChildEndedError(self.process.returncode, last_lines(chain(self._stderr, more), indent="  "))
