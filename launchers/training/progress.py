"""How a training is shown while it runs: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from ftbridge.core.console import RateLimiter, progress_bar, say
from ftbridge.launchers.runs.summary import clock

Update = Callable[[dict[str, float]], object]


@contextmanager
def reporter(steps: int, callback: Update | None = None) -> Iterator[Update]:
    """Yield what is to be called with each record of metrics.jsonl as it comes, of `steps` in all.

    A terminal that has closed, or a pipe that nobody reads any more, is no reason to end what is shown there.
    """
    if callback:
        yield callback
        return
    shown = ExitStack()
    updates: list[Update] = []
    with suppress(OSError):
        updates.append(shown.enter_context(_shown(steps)))

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
            shown.close()


class _Lines:
    """A line per new record, at most one every five seconds."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seen = steps, 0.0
        self.is_time = RateLimiter(at_once=True)
        self.first: tuple[float, float] | None = None  # loading is not part of the pace

    def __call__(self, record: dict[str, float]) -> None:
        step = record["step"]
        if "loss" not in record:
            say(f"step {step:g}/{self.steps}  validation loss {record['validation_loss']:.4f}")
            return
        if step <= self.seen or not self.is_time(surely=step >= self.steps):
            return
        now = time.monotonic()
        self.first = self.first or (step, now)
        pace = (now - self.first[1]) / (step - self.first[0]) if step > self.first[0] else 0
        left = f"  {clock(pace * (self.steps - step))} left" if pace else ""
        say(f"step {step:g}/{self.steps}  loss {record['loss']:.4f}{left}")
        self.seen = step


@contextmanager
def _shown(steps: int) -> Iterator[Update]:
    columns = ("training", "bar", "count", "{task.fields[loss]}", "left")
    with progress_bar(*columns, total=steps, loss="loading the model") as bar:
        if not bar:
            yield _Lines(steps)
            return

        def update(record: dict[str, float]) -> None:
            if "loss" in record:
                bar.update(int(record["step"]), loss=f"loss {record['loss']:.4f}")
            else:
                bar.say(f"step {record['step']:g}: validation loss {record['validation_loss']:.4f}")

        yield update
