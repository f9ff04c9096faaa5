"""How a training is shown while it runs: a bar on a terminal, plain lines elsewhere; and how long it will take."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple, Protocol

from ftbridge.core.console import Pace, ProgressBar, RateLimiter, progress_bar, say
from ftbridge.core.console.notebook import CellBar, is_cell
from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, load_run
from ftbridge.launchers.runs.training_log import Record, read_curve

Callback = Callable[[Record], object]
# Two trainings that have these options in common, and the base and the machine, take as long for a micro batch.
_SAME_PACE = (
    "backend", "method", "quantization_bits", "micro_batch_size", "cutoff_length", "packing", "gradient_checkpointing",
    "deepspeed", "gpus", "device", "dtype", "optimizer",
)  # fmt: skip
_AS_SHORT = 2  # times the steps
_LOOKED_AT = 50  # runs, the newest ones


class Expectation(NamedTuple):
    """How long a training will take in seconds: before its first step, and each step; and the run that tells it."""

    delay: float
    step: float
    run: str

    def total(self, steps: int) -> float:
        """Return the seconds of a training of so many steps."""
        return self.delay + steps * self.step


def expected_time(run: Run) -> Expectation | None:
    """Return how long `run` will take, by the last one of its folder that did the same; None where there is none.

    Of several, one on the same dataset counts first.
    """
    found = []
    for file in sorted(run.path.parent.glob("*/run.json"), reverse=True)[:_LOOKED_AT]:
        with suppress(InputError):
            other = load_run(file.parent)
            if other.status == "succeeded" and other.id != run.id and _takes_as_long(other, run):
                found.append(other)
    found.sort(key=lambda other: other.spec.dataset != run.spec.dataset)
    return next(filter(None, (_measured(other, run) for other in found)), None)


def _takes_as_long(one: Run, other: Run) -> bool:
    same_base = one.base == other.base if one.base and other.base else one.model == other.model
    options = (getattr(one.spec, name) == getattr(other.spec, name) for name in _SAME_PACE)
    return same_base and one.machine.name == other.machine.name and all(options)


def _measured(earlier: Run, run: Run) -> Expectation | None:
    """Return what the last attempt of an earlier run tells of `run`."""
    last = len(earlier.attempts)
    records = [each for each in read_curve(earlier) if "loss" in each and each.get("attempt", 1) == last]
    times = [(record["step"], record.get("time", 0)) for record in records]
    if not times or not earlier.steps:
        return None
    (first, begun), (end, ended) = times[0], times[-1]
    seconds = (ended - begun) / (end - first) if end > first else 0
    # Too short to be timed by its log, in which times are whole seconds: it tells of one as short, start-up and all.
    if not seconds and last == 1 and run.steps <= _AS_SHORT * earlier.steps:
        seconds = ended / end
    passes = run.spec.gradient_accumulation_steps / earlier.spec.gradient_accumulation_steps
    delay = max(0.0, begun - first * seconds) if last == 1 else 0.0
    return Expectation(delay, seconds * passes, earlier.id) if seconds else None


class Display(Protocol):
    """What shows a training."""

    def show(self, step: float, note: str) -> None:
        """Show how many steps are done, and the last loss, or what is done before there is one."""

    def say(self, line: str) -> None:
        """Print a line that stays."""


class Reporter:
    """Tells whoever watches how far a training has come."""

    def __init__(
        self, steps: int, pace: Pace, displays: list[Display], callback: Callback | None = None, begin: float = 0
    ) -> None:
        """Show it from step `begin` on the `displays`, of which there is at most one, or call `callback`."""
        self._steps, self._pace, self._displays, self._callback = steps, pace, displays, callback
        self._begin = self._step = begin
        self._loss = ""

    def update(self, record: Record) -> None:
        """Show a new record of metrics.jsonl."""
        if self._callback:
            self._callback(record)
        elif "loss" in record:
            self._loss = _("loss {loss}").format(loss=f"{record['loss']:.4f}")
            self.reach(record["step"])
        else:
            loss, step = f"{record['validation_loss']:.4f}", math.ceil(record["step"])
            self.say(_("step {step}: validation loss {loss}").format(step=step, loss=loss))

    def reach(self, step: float) -> None:
        """Show that so many steps are done, parts of one too; it never goes back."""
        self._step = done = max(step, self._step)
        self._pace.observe(done)
        note = self._loss or (_("first step") if done < self._begin + 1 else "")
        self._call(lambda display: display.show(min(done, self._steps), note))

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._call(lambda display: display.say(line))

    def stop(self, line: str) -> None:
        """Print that the training is about to end: nobody knows how much time is left."""
        self._pace.forget()
        self.say(line)

    def _call(self, show: Callable[[Display], None]) -> None:
        """Show something; a terminal that has closed, or a pipe that nobody reads, is no reason to end."""
        try:
            for display in self._displays:
                show(display)
        except OSError:
            self._displays.clear()


@contextmanager
def reporter(
    steps: int, callback: Callback | None = None, *, begin: float = 0, expected: Expectation | None = None
) -> Iterator[Reporter]:
    """Yield what shows a training of `steps` that begins at the step `begin`, and may be `expected` to take a time."""
    pace = Pace(steps, seconds_each=expected.step if expected else 0, delay=expected.delay if expected else 0)
    stack, displays = ExitStack(), list[Display]()
    if not callback:
        with suppress(OSError):
            displays.append(stack.enter_context(_bar_or_lines(steps, pace, begin)))
    try:
        yield Reporter(steps, pace, displays, callback, begin)
    finally:
        with suppress(OSError):
            stack.close()


@contextmanager
def _bar_or_lines(steps: int, pace: Pace, begin: float) -> Iterator[Display]:
    columns = (_("training"), "bar", "count", "{task.fields[note]}", "time")
    loading = _("loading the model")
    if is_cell():
        cell = CellBar(_("training"), steps, pace)
        cell.show(begin, loading)
        yield cell
        return
    with progress_bar(*columns, total=steps, pace=pace, completed=begin, note=loading) as bar:
        yield _Bar(bar) if bar else _PlainLines(steps, pace)


class _Bar:
    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar

    def show(self, step: float, note: str) -> None:
        self._bar.update(step, note=note)

    def say(self, line: str) -> None:
        self._bar.say(line)


class _PlainLines:
    """A line for each new step, at most one every five seconds."""

    def __init__(self, steps: int, pace: Pace) -> None:
        self._steps, self._pace, self._shown = steps, pace, 0
        self._is_time = RateLimiter(at_once=True)

    def show(self, step: float, note: str) -> None:
        done = int(step)
        if done <= self._shown or not self._is_time(surely=done >= self._steps):
            return
        self._shown = done
        parts = [_("step {step}/{steps}").format(step=done, steps=self._steps), note, str(self._pace)]
        say("  ".join(filter(None, parts)))

    def say(self, line: str) -> None:
        say(line)
