"""A measurement that is repeated in a thread while a block runs."""

import threading
from types import TracebackType
from typing import Self


class Poller:
    """Calls `poll` every `interval` seconds in a thread of its own, from entering the block to its end."""

    interval: float

    def __init__(self) -> None:
        """Prepare the thread."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def poll(self) -> None:
        """Measure once."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Begin to poll."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End polling."""
        self._ended.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.wait(self.interval):
            self.poll()
