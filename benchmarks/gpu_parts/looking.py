"""Something that looks at something else, again and again, while a block runs."""

import threading
from types import TracebackType
from typing import Self


class Looking:
    """Calls `look` every so many seconds in a thread of its own, from entering the block to its end."""

    every: float

    def __init__(self) -> None:
        """Prepare the thread."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def look(self) -> None:
        """Look once."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End looking."""
        self._ended.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.wait(self.every):
            self.look()
