"""Requests, a line of JSON each on stdin, and what a program answers them on stdout.

The first line of stdout is {"ready": true, "version": TEXT} once the program has loaded what it needs, or whatever
record says why it cannot. Each further one has the `number` of its request. A line {"interrupt": number} ends a
request that is being answered.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

Write = Callable[[dict[str, Any]], None]
# Answers a request by writing records, until it is told that nobody waits any more.
Respond = Callable[[dict[str, Any], Write, Callable[[], bool]], None]
# A request, what went wrong in reading one, or None once there are no more.
Requests = queue.SimpleQueue[dict[str, Any] | BaseException | None]


class RefusedError(Exception):
    """What the program was started with cannot be loaded; `record` says why."""

    def __init__(self, record: dict[str, Any]) -> None:
        """Keep it."""
        super().__init__(str(record))
        self.record = record


def answer_requests(load: Callable[[dict[str, Any]], Respond], version: str) -> None:
    """Load what the command line's JSON says, and answer requests until stdin ends.

    Libraries that print do so on stderr. What goes wrong in answering a request is told as {"error": sentence}.
    """
    # A tokenizer of Python may decode half a character, which no reader of JSON takes.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    requests: Requests = queue.SimpleQueue()
    interrupted: set[int] = set()

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()

    try:
        respond = load(json.loads(sys.argv[1]))
    except RefusedError as error:
        write(error.record)
        return
    write({"ready": True, "version": version})
    threading.Thread(target=read_requests, args=[requests, interrupted], daemon=True).start()
    while request := requests.get():
        if isinstance(request, BaseException):
            raise request
        number = request["number"]
        numbered = partial(_write_numbered, write, number)
        try:
            respond(request, numbered, partial(interrupted.__contains__, number))
        except Exception as error:  # noqa: BLE001 - whatever one request does, the next is answered
            numbered({"error": " ".join(str(error).split()) or type(error).__name__})


def read_requests(requests: Requests, interrupted: set[int]) -> None:
    """Put what stdin asks into `requests`, None at its end, and the numbers of answers to end into `interrupted`."""
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if "interrupt" in request:
                interrupted.add(request["interrupt"])
            else:
                requests.put(request)
        requests.put(None)
    except BaseException as error:  # noqa: BLE001 - nobody would hear any more: the main thread raises it
        requests.put(error)


def _write_numbered(write: Write, number: int, record: dict[str, Any]) -> None:
    write({"number": number, **record})
