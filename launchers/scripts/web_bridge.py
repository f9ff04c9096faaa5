"""The way from the chat page to ftbridge: one question at a time, session after session, none that nobody reads."""

import asyncio
import itertools
import json
import os
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

UNREAD = 20.0  # seconds after which an answer is dropped that no stream of its session would show
MOST_WAITING = 30  # questions of one session


class Turn:
    """A question that waits, or is being answered; its records come into `records`."""

    def __init__(self, session: str, number: int, request: dict[str, Any]) -> None:
        """Wait from now on."""
        self.session, self.number, self.request = session, number, request
        self.records: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.begun = time.monotonic()


class Bridge:
    """Sends questions on stdout, and takes answers from stdin. Not for threads: `listen` has the only one."""

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        """Send with `write`."""
        self.write = write
        self.numbers = itertools.count()
        self.waiting: dict[str, deque[Turn]] = {}  # by session, the next one first
        self.readers: Counter[str] = Counter()
        self.last_read: dict[str, float] = {}  # when the last stream of a session ended
        self.running: Turn | None = None

    async def ask(self, session: str, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the records of an answer, once it is this session's turn; one that is left early is stopped."""
        waiting = self.waiting.setdefault(session, deque())
        if len(waiting) >= MOST_WAITING:
            yield {"error": f"{MOST_WAITING} questions wait already; ask again once they are answered"}
            return
        turn = Turn(session, next(self.numbers), request)
        waiting.append(turn)
        record: dict[str, Any] = {}
        try:
            self.begin_next()
            while "end" not in (record := await turn.records.get()):
                yield record
        finally:
            if "end" not in record:
                self.drop(turn)

    def begin_next(self) -> None:
        """Send the next question that somebody reads the answer of; its session then waits behind the others."""
        session = next((name for name in self.waiting if self.readers[name]), None)
        if self.running or session is None:
            return
        turns = self.waiting.pop(session)
        self.running = turns.popleft()
        if turns:
            self.waiting[session] = turns
        self.write({"id": self.running.number, **self.running.request})

    def receive(self, record: dict[str, Any]) -> None:
        """Pass a record from ftbridge to the question that is being answered."""
        if self.running and self.running.number == record["id"]:
            self.running.records.put_nowait(record)
            if "end" in record:
                self.running = None
                self.begin_next()

    def drop(self, turn: Turn) -> None:
        """End the answer, or the waiting for it."""
        if turn is self.running:
            self.write({"stop": turn.number})
        elif turn in (turns := self.waiting.get(turn.session, deque())):
            turns.remove(turn)
            turn.records.put_nowait({"end": True})
            if not turns:
                del self.waiting[turn.session]

    def stop(self, session: str, older_than: float = 0.0) -> None:
        """End what `session` waits for, as far as it was asked `older_than` seconds ago."""
        turns = [*self.waiting.get(session, ()), *([self.running] if self.running else [])]
        for turn in turns:
            if turn.session == session and time.monotonic() - turn.begun >= older_than:
                self.drop(turn)

    @contextmanager
    def stream_open(self, session: str) -> Iterator[None]:
        """Count a stream of `session` that is open while this is entered, and shows its answers."""
        self.readers[session] += 1
        self.begin_next()
        try:
            yield
        finally:
            self.readers[session] -= 1
            if not self.readers[session]:
                del self.readers[session]
                self.last_read[session] = time.monotonic()

    async def sweep(self) -> None:
        """Drop the questions of sessions that nobody reads, for ever."""
        while True:
            await asyncio.sleep(UNREAD / 20)
            now = time.monotonic()
            self.last_read = {name: when for name, when in self.last_read.items() if now - when < UNREAD}
            unread = {*self.waiting, *([self.running.session] if self.running else [])}
            for session in unread - self.readers.keys() - self.last_read.keys():
                self.stop(session, UNREAD)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand out what comes in, in a thread; the process ends with stdin, and with the thread in any case."""
        try:
            for line in sys.stdin.buffer:
                loop.call_soon_threadsafe(self.receive, json.loads(line))
        except (ValueError, RuntimeError):
            traceback.print_exc()
        finally:
            os._exit(0)

    def begin(self) -> None:
        """Begin to listen and to sweep, on the loop that is running."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self.listen, args=[loop], daemon=True).start()
        self.sweeping = loop.create_task(self.sweep())
