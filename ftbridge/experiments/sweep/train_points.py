"""The trainings of a sweep: one after another, or one on each GPU at a time; what is done is not done again."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from ftbridge.core.console import counted, format_duration, say
from ftbridge.core.errors import FrameworkError, FtbridgeError, InputError, InterruptedRun, SetupError
from ftbridge.core.project import Project
from ftbridge.evaluation.sweep.record import Point, Sweep
from ftbridge.experiments.training import PlannedTraining, base_digest, first_line, prepare_planned
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.preflight.preflight import preflight_checks, refuse_failures
from ftbridge.launchers.runs.record import Run, load_run, status_in_words, stop_run
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
    waiting = {at: planned[at] for at in planned if not book.is_trained(at)}
    if not waiting:
        return
    if len(waiting) < len(planned):
        say(
            _("{count} of {points} trained already").format(
                count=len(planned) - len(waiting), points=counted(len(planned), "point is", "points are")
            )
        )
    cards = [gpu.uuid for gpu in devices.usable_gpus("auto")] if parallel else []
    if len(cards) > 1:
        _Cards(book, project, waiting, cards).train()
        return
    if parallel:
        say(
            _("note: {gpus} visible here: the points are trained one after another").format(
                gpus=counted(len(cards), "GPU is", "GPUs are")
            )
        )
    begun = time.monotonic()
    for done, at in enumerate(waiting):
        seconds = (time.monotonic() - begun) / max(1, done) * (len(waiting) - done)
        left = _(", about {seconds} left").format(seconds=format_duration(seconds)) if done else ""
        say(
            _("\npoint {at} of {count}{left}: {title}").format(
                at=at + 1,
                count=len(book.sweep.points),
                left=left,
                title=book.sweep.points[at].title or _("all as by default"),
            )
        )
        with _failing(book, at):
            _train_here(book, project, at, planned[at])


def _train_here(book: Book, project: Project, at: int, planned: PlannedTraining) -> None:
    """Train a point in this process, unless what a killed sweep has left running does."""
    before = book.run_of(at)
    if before and before.status == "running":
        say(_("{id} is still running; waiting for it to end").format(id=before.id))
    while before and before.status == "running":
        time.sleep(POLL_SECONDS)
        before = load_run(before.path)
    if not (before and before.status == "succeeded"):
        ready, preflight = _ready(book, project, at, planned, before)
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
            _(
                "the base model `{model}` has changed since this sweep began, and the points would "
                "not be comparable: put it back as it was, and the same command goes on"
            ).format(model=model)
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
            _(
                "the disk is full, and the sweep ends here: {error}. What is done is kept; free some space, "
                "and the same command goes on"
            ).format(error=first_line(error))
        ) from error
    point = book.change(at, error=text)
    say(_("point {at} failed ({title}): {error}").format(at=at + 1, title=point.title, error=first_line(error)))


class _Cards:
    """Points that train each on a GPU of its own, as runs that are watched over by processes of their own."""

    def __init__(
        self, book: Book, project: Project, planned: Mapping[int, PlannedTraining], cards: Sequence[str]
    ) -> None:
        self.book, self.project, self.planned, self.cards = book, project, planned, cards
        self.running: dict[str, tuple[int, Run]] = {}  # by card
        for at in planned:  # what a killed sweep has left running
            if (left := book.run_of(at)) and left.status == "running":
                say(_("{id} is still running; waiting for it to end").format(id=left.id))
                self.running[left.launch.env.get("CUDA_VISIBLE_DEVICES", left.id)] = at, left
        begun = {at for at, _unused in self.running.values()}
        self.waiting = [at for at in planned if at not in begun]

    def train(self) -> None:
        """Train all points; ends those that run where it is ended itself."""
        say(
            _("{points} on {count} GPUs, one on each at a time").format(
                points=counted(len(self.waiting), "point"), count=len(self.cards)
            )
        )
        try:
            while self.waiting or self.running:
                for card in [each for each in self.cards if each not in self.running][: len(self.waiting)]:
                    self._begin(card, self.waiting.pop(0))
                time.sleep(POLL_SECONDS)
                self._take_ended()
        except BaseException:
            self._stop_running()
            raise

    def _stop_running(self) -> None:
        """Have all points that run save and end, together; a second Ctrl-C ends them at once."""
        runs = []
        for at, run in self.running.values():
            say(_("ending point {at} ({id})").format(at=at + 1, id=run.id))
            runs.append(run)
        with ThreadPoolExecutor(2 * len(runs) or 1) as pool:
            stopping = [pool.submit(stop_run, run) for run in runs]
            try:
                wait(stopping)
            except KeyboardInterrupt:
                wait([pool.submit(stop_run, run) for run in runs])  # who is asked twice does not save

    def _begin(self, card: str, at: int) -> None:
        book = self.book
        with _failing(book, at), _only(card):
            ready, preflight = _ready(book, self.project, at, self.planned[at], book.run_of(at))
            run = start_detached(ready, preflight=preflight)
            book.change(at, run=run.id)
            self.running[card] = at, run

    def _take_ended(self) -> None:
        for card, (at, run) in [*self.running.items()]:
            now = load_run(run.path)
            if now.status == "running":
                continue
            del self.running[card]
            with _failing(self.book, at):
                _refuse_failed(now)
                say(_("point {at} is trained ({title})").format(at=at + 1, title=self.book.sweep.points[at].title))


def _refuse_failed(run: Run) -> None:
    if run.status != "succeeded":
        code = run.attempts[-1].exit_code or 1
        raise FrameworkError(
            _("{id} did not finish ({status}){failure_message}").format(
                id=run.id,
                status=status_in_words(run.status),
                failure_message=failure_message(run.path / "log.txt", code),
            )
        )


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
