"""The evaluation of a sweep's points: those of the same questions together, for which their base is loaded once."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.core.console import counted, say
from ftbridge.core.errors import FtbridgeError, InterruptedRun
from ftbridge.dataset_info import registry
from ftbridge.evaluation.answers.folder import OtherAnswersError
from ftbridge.evaluation.evaluate import evaluate
from ftbridge.evaluation.judge import Written
from ftbridge.evaluation.record import test_part
from ftbridge.experiments.sweep.train_points import Book, fail_point
from ftbridge.experiments.training import PlannedTraining, data_digests
from ftbridge.language import gettext as _


def evaluate_points(book: Book, planned: Mapping[int, PlannedTraining], options: Mapping[str, Any]) -> None:
    """Evaluate the trained points whose evaluation is not there; one that fails keeps its error, and stops no other."""
    waiting: dict[str, list[int]] = {}
    for at in planned:
        judged = _judged_by(planned[at], options)
        if book.is_trained(at) and not _is_judged(book, at, judged):
            waiting.setdefault(judged, []).append(at)
    for judged, members in waiting.items():
        say(_("\nevaluating {points} ...").format(points=counted(len(members), "point")))
        runs = [book.sweep.path / "runs" / book.sweep.points[at].run for at in members]
        for at, found in zip(members, _evaluated(runs, options), strict=True):
            if isinstance(found, FtbridgeError):
                book.change(at, evaluation="", judged="")
                fail_point(book, at, found)
            else:
                place = os.path.relpath(found.file, book.sweep.path)
                book.change(at, evaluation=place, judged=judged, error="")


def _evaluated(runs: Sequence[Path], options: Mapping[str, Any]) -> Iterator[Written | FtbridgeError]:
    """Yield the evaluation of each run, or in its place why there is none.

    All are evaluated together, for their base is then loaded once; where one of them fails, each half by itself. What
    the others have answered meanwhile is not asked again.
    """
    try:
        yield from _evaluated_anew(runs, options)[: len(runs)]
    except InterruptedRun:
        raise
    except FtbridgeError as error:
        if len(runs) == 1:
            yield error
            return
        half = len(runs) // 2
        yield from _evaluated(runs[:half], options)
        yield from _evaluated(runs[half:], options)


def _evaluated_anew(runs: Sequence[Path], options: Mapping[str, Any]) -> tuple[Written, ...]:
    """Return the evaluations of runs; where they have answers to other options, all are asked anew."""
    try:
        return evaluate(*runs, **options).evaluations
    except OtherAnswersError:
        return evaluate(*runs, **{**options, "replace": True}).evaluations


def _judged_by(planned: PlannedTraining, options: Mapping[str, Any]) -> str:
    """Return what tells an evaluation of one point from others: its options and questions."""
    folder = Path(str(options.get("dataset_dir") or planned.spec.dataset_dir)).absolute()
    known = registry.read_entries(folder)
    parts = [test_part(registry.look_up(folder, each.name)[0]) for each in planned.spec.datasets]
    name = str(options.get("dataset") or next((part for part in parts if part in known), parts[0]))
    content = [dict(options), sorted(data_digests(folder, name).values()), __version__]
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def _is_judged(book: Book, at: int, judged: str) -> bool:
    point = book.sweep.points[at]
    return point.judged == judged and (book.sweep.path / point.evaluation).is_file()
