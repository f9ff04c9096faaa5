"""The trainings of a sweep: one after another, or one on each GPU at a time; what is done is not done again."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from ftbridge.core.console import counted, say
from ftbridge.core.errors import FrameworkError, FtbridgeError, InputError, InterruptedRun, SetupError
from ftbridge.core.project import Project
from ftbridge.evaluation.sweep.record import Point, Sweep
from ftbridge.experiments.training import PlannedTraining, base_digest, prepare_planned
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.preflight.preflight import preflight_checks, refuse_failures
from ftbridge.launchers.runs.record import Run, load_run, stop_run
from ftbridge.launchers.runs.summary import format_duration
from ftbridge.launchers.training.failures import failure_message
from ftbridge.launchers.training.prepare import Prepared
from ftbridge.launchers.training.train import start, start_detached

POLL_SECONDS = 0.5
FULL = ("disk space", "No space left", "disk is full", "Disk quota")  # in messages of ours and of the frameworks


class Book:
    """A sweep whose record is written with each change, so that a sweep that is killed knows what is done.

    `imported` are the backends whose modules were tried in this process.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.imported: set[str] = set()

    def change(self, at: int, **changes: object) -> Point:
        """Change the point with this number, write the record, and return the point."""
        points = [*self.sweep.points]
        points[at] = replace(points[at], **changes)
        self.sweep = replace(self.sweep, points=tuple(points)).save()
        return points[at]

    def run_of(self, at: int) -> Run | None:
        """Return the run of a point as its record says now, None where there is none."""
        point = self.sweep.points[at]
        with suppress(InputError):  # it was deleted, or never made
            return load_run(self.sweep.path / "runs" / point.run) if point.run else None
        return None

    def is_trained(self, at: int) -> bool:
        """Tell whether the run of a point succeeded."""
        run = self.run_of(at)
        return run is not None and run.status == "succeeded"


def train_points(book: Book, project: Project, planned: Mapping[int, PlannedTraining], *, parallel: bool) -> None:
    """Train the planned points that are not trained yet; one that fails keeps its error, and stops no other.

    Raises InterruptedRun after Ctrl-C, SetupError where the disk is full, InputError where a base has changed; what is
    done stays done.
    """
    waiting = [at for at in planned if not book.is_trained(at)]
    if waiting and len(waiting) < len(planned):
        say(f"{len(planned) - len(waiting)} of {counted(len(planned), 'point is', 'points are')} trained already")
    cards = [gpu.uuid for gpu in devices.usable_gpus("auto")] if parallel and waiting else []
    if parallel and waiting and len(cards) < 2:  # noqa: PLR2004
        say(f"note: {counted(len(cards), 'GPU is', 'GPUs are')} visible here: the points are trained one after another")
    if len(cards) > 1:
        _train_in_parallel(book, project, {at: planned[at] for at in waiting}, cards)
        return
    begun = time.monotonic()
    for done, at in enumerate(waiting):
        left = (
            f", about {format_duration((time.monotonic() - begun) / done * (len(waiting) - done))} left" if done else ""
        )
        say(f"\npoint {at + 1} of {len(book.sweep.points)}{left}: {book.sweep.points[at].title or 'all as by default'}")
        with _failing(book, at):
            before = _after_waiting(book.run_of(at))
            if before and before.status == "succeeded":
                continue
            ready, preflight = _ready(book, project, at, planned[at], before)
            book.change(at, run=start(ready, preflight=preflight).id)


def _ready(
    book: Book, project: Project, at: int, planned: PlannedTraining, before: Run | None
) -> tuple[Prepared, bool]:
    """Return the training of a point, decided, with its run on record, and whether the whole pre-flight is to come.

    That imports the framework, which takes seconds, and is done for the first point of each. Raises InputError where
    the base has changed, or the pre-flight finds what would fail.
    """
    model = planned.spec.model
    if base_digest(project, model, planned.spec.backend) != planned.base:
        raise _BaseChangedError(
            f"the base model `{model}` has changed since this sweep began, and the points would not be comparable: put "
            "it back as it was, and the same command goes on"
        )
    ready = prepare_planned(planned, before)
    book.change(at, run=ready.plan.run.name, error="")
    imported = planned.spec.backend in book.imported
    if imported:
        refuse_failures(preflight_checks(ready.plan, ready.python, ready.project.runs))
    book.imported.add(planned.spec.backend)
    return ready, not imported


class _BaseChangedError(InputError):
    """Ends the sweep, where other errors end their point."""


@contextmanager
def _failing(book: Book, at: int) -> Iterator[None]:
    """Keep the error of a point in the record; raises what concerns all others as well."""
    try:
        yield
    except (InterruptedRun, _BaseChangedError):
        raise
    except FtbridgeError as error:
        fail_point(book, at, error)


def fail_point(book: Book, at: int, error: FtbridgeError) -> None:
    """Keep the error of a point, and say it; raises SetupError where the disk is full."""
    text = str(error)
    if any(sign in text for sign in FULL):
        raise SetupError(
            f"the disk is full, and the sweep ends here: {_first_line(error)}. What is done is kept; make room, and "
            "the same command goes on"
        ) from error
    point = book.change(at, error=text)
    say(f"point {at + 1} failed ({point.title}): {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _after_waiting(run: Run | None) -> Run | None:
    """Return a run once it has ended: one that a killed sweep has left running is not started twice."""
    if run and run.status == "running":
        say(f"{run.id} still runs; waiting for its end")
    while run and run.status == "running":
        time.sleep(POLL_SECONDS)
        run = load_run(run.path)
    return run


def _train_in_parallel(book: Book, project: Project, planned: Mapping[int, PlannedTraining], cards: list[str]) -> None:
    """Train points, each on a card of its own, as runs that are watched over by processes of their own."""
    running: dict[str, tuple[int, Run]] = {}  # by card
    for at in planned:  # what a killed sweep has left running
        if (left := book.run_of(at)) and left.status == "running":
            say(f"{left.id} still runs; waiting for its end")
            running[left.launch.env.get("CUDA_VISIBLE_DEVICES", left.id)] = at, left
    begun = {at for at, _ in running.values()}
    waiting = [at for at in planned if at not in begun]
    say(f"{counted(len(waiting), 'point')} on {len(cards)} GPUs, one on each at a time")
    try:
        while waiting or running:
            for card in [each for each in cards if each not in running][: len(waiting)]:
                at = waiting.pop(0)
                with _failing(book, at), _only(card):
                    ready, preflight = _ready(book, project, at, planned[at], book.run_of(at))
                    run = start_detached(ready, preflight=preflight)
                    book.change(at, run=run.id)
                    running[card] = at, run
            time.sleep(POLL_SECONDS)
            for card, (at, run) in [*running.items()]:
                if (now := load_run(run.path)).status != "running":
                    del running[card]
                    with _failing(book, at):
                        _refuse_failed(now)
                        say(f"point {at + 1} is trained ({book.sweep.points[at].title})")
    except BaseException:
        for at, run in running.values():
            say(f"ending point {at + 1} ({run.id})")
            with suppress(FtbridgeError):
                stop_run(run)
        raise


def _refuse_failed(run: Run) -> None:
    if run.status != "succeeded":
        code = run.attempts[-1].exit_code or 1
        raise FrameworkError(f"{run.id} has {run.status}{failure_message(run.path / 'log.txt', code)}")


@contextmanager
def _only(card: str) -> Iterator[None]:
    """Let what is decided inside see one GPU alone."""
    name, before = "CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ[name] = card
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
