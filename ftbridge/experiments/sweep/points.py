"""The points of a sweep before they are trained, and what is done of them already."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ftbridge import __version__
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.dataset_info import registry
from ftbridge.evaluation.record import test_part
from ftbridge.evaluation.sweep.record import FILE, Point, Sweep, load_sweep
from ftbridge.experiments.sweep.data import PointData
from ftbridge.experiments.sweep.options import Setting, SweepFile, Values, varied_and_constant
from ftbridge.experiments.training import PlannedTraining, plan_training
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.runs.record import utc_now


def plan_points(
    project: Project, settings: Sequence[Setting], data: Sequence[PointData], train: Values, asked: SweepFile
) -> tuple[list[Point], dict[int, PlannedTraining]]:
    """Return all points, and the trainings of those that can be trained, by their numbers.

    Raises UsageError where two come to the same training, or there would be no questions to evaluate them by.
    """
    points: list[Point] = []
    planned: dict[int, PlannedTraining] = {}
    seeds: list[int | None] = [*asked.seeds] or [None]
    for setting, own in zip(settings, data, strict=True):
        for seed in seeds:
            point = Point(values=setting.shown, seed=seed, error=own.error)
            if not own.error:
                try:
                    training = planned[len(points)] = plan_training(project, _options(setting, own, seed, train))
                    point = replace(point, key=training.key)
                except InputError as error:
                    point = replace(point, error=str(error))
            points.append(point)
    _refuse_doubles(points)
    if not asked.evaluate.get("dataset"):
        _refuse_without_test_part(planned.values())
    return points, planned


def _options(setting: Setting, data: PointData, seed: int | None, train: Values) -> Values:
    """Return the options of a point's training."""
    options = {**train, **setting.train}
    if data.dataset:
        options |= {"dataset": data.dataset, "dataset_dir": data.dataset_dir}
    return options if seed is None else {**options, "seed": seed}


def _refuse_doubles(points: Sequence[Point]) -> None:
    by_key: dict[str, int] = {}
    for at, point in enumerate(points):
        first = by_key.setdefault(point.key, at) if point.key else at
        if first != at:
            raise UsageError(
                _(
                    "the points {first} ({title}) and {at} ({point_title}) would be the same training; leave one out"
                ).format(first=first + 1, title=points[first].title, at=at + 1, point_title=point.title)
            )


def _refuse_without_test_part(planned: Iterable[PlannedTraining]) -> None:
    for each in planned:
        folder = Path(each.spec.dataset_dir).absolute()
        parts = [test_part(registry.look_up(folder, choice.name)[0]) for choice in each.spec.datasets]
        known = [part for part in parts if part in registry.read_entries(folder)]
        if len(known) > 1:
            named = joined(", ", (f"`{part}`" for part in known))
            raise UsageError(
                _("points are evaluated on one dataset: name it under `evaluate`; there are {parts}").format(
                    parts=named
                )
            )
        if not known:
            raise UsageError(
                _(
                    "the points are evaluated on a test part, and there is no `{part}` in `{folder}`: "
                    "convert with one (`--split 8:1:1`), or name a dataset under `evaluate`"
                ).format(part=parts[0], folder=folder)
            )


def begin_record(
    folder: Path,
    asked: SweepFile,
    settings: Sequence[Setting],
    points: Sequence[Point],
    planned: Mapping[int, PlannedTraining],
) -> Sweep:
    """Return the sweep's record, written, with what is done already; raises InputError where a base has changed."""
    varied, constant = varied_and_constant(settings)
    before = load_sweep(folder) if (folder / FILE).is_file() else None
    bases = {each.spec.model: each.base for each in planned.values()}
    known = {point.key: point for point in (*before.points, *before.earlier) if point.key} if before else {}
    if before:
        _refuse_changed_bases(before, bases)
    keys = {point.key for point in points}
    return Sweep(
        name=folder.name,
        folder=str(folder),
        varied=varied,
        constant=dict(constant),
        metric=asked.metric,
        points=tuple(
            replace(known[point.key], values=point.values, seed=point.seed, error="") if point.key in known else point
            for point in points
        ),
        earlier=tuple(point for key, point in known.items() if key not in keys),
        bases={**(before.bases if before else {}), **bases},
        created=before.created if before else utc_now(),
        version=__version__,
    ).save()


def _refuse_changed_bases(before: Sweep, bases: Mapping[str, str]) -> None:
    done = sum(bool(point.evaluation) for point in before.points)
    changed = next((model for model, base in bases.items() if before.bases.get(model, base) != base), None)
    if changed and done:
        raise InputError(
            _(
                "the base model `{changed}` is not the one that {points} of this sweep had: put it "
                "back as it was, or give this sweep another name (`--name`)"
            ).format(changed=changed, points=counted(done, "point"))
        )
