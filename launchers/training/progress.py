"""How a training is shown while it runs: a bar on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from ftbridge.core.console import RateLimiter, progress_bar, say
from ftbridge.launchers.runs.summary import format_duration

Update = Callable[[dict[str, float]], object]


@contextmanager
def reporter(steps: int, callback: Update | None = None) -> Iterator[Update]:
    """Yield the function to call with each record of metrics.jsonl as it comes, of `steps` in all.

    It is `callback`, or shows a progress bar on a terminal, and plain lines elsewhere.

    A terminal that has closed, or a pipe that nobody reads any more, is no reason to end what is shown there.
    """
    if callback:
        yield callback
        return
    display = ExitStack()
    updates: list[Update] = []
    with suppress(OSError):
        updates.append(display.enter_context(_bar_or_lines(steps)))

    def show(record: dict[str, float]) -> None:
        try:
            for update in updates:
                update(record)
        except OSError:
            updates.clear()

    try:
        yield show
    finally:
        with suppress(OSError):
            display.close()


class _PlainLines:
    """A line per new record, at most one every five seconds."""

    def __init__(self, steps: int) -> None:
        self.steps, self.last_step = steps, 0.0
        self.is_time = RateLimiter(at_once=True)
        self.first: tuple[float, float] | None = None  # step and time; loading is not part of the pace

    def __call__(self, record: dict[str, float]) -> None:
        step = record["step"]
        if "loss" not in record:
            say(f"step {math.ceil(step)}/{self.steps}  validation loss {record['validation_loss']:.4f}")
            return
        if step <= self.last_step or not self.is_time(surely=step >= self.steps):
            return
        now = time.monotonic()
        self.first = self.first or (step, now)
        seconds_per_step = (now - self.first[1]) / (step - self.first[0]) if step > self.first[0] else 0
        left = f"  {format_duration(seconds_per_step * (self.steps - step))} left" if seconds_per_step else ""
        say(f"step {int(step)}/{self.steps}  loss {record['loss']:.4f}{left}")
        self.last_step = step


@contextmanager
def _bar_or_lines(steps: int) -> Iterator[Update]:
    columns = ("training", "bar", "count", "{task.fields[loss]}", "left")
    with progress_bar(*columns, total=steps, loss="loading the model") as bar:
        if not bar:
            yield _PlainLines(steps)
            return

        def update(record: dict[str, float]) -> None:
            if "loss" in record:
                bar.update(int(record["step"]), loss=f"loss {record['loss']:.4f}")
            else:
                bar.say(f"step {math.ceil(record['step'])}: validation loss {record['validation_loss']:.4f}")

        yield update
