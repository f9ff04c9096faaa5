"""`ftbridge sweep`: a training for each point, all evaluated on the same questions, in a folder of the sweep's own."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ftbridge import __version__
from ftbridge.core.console import counted, say
from ftbridge.core.errors import FtbridgeError, InputError, InterruptedRun, QuestionError, UsageError
from ftbridge.core.files.atomic import locked, write_atomic
from ftbridge.core.project import SETTINGS, Project
from ftbridge.dataset_info import registry
from ftbridge.evaluation.answers.folder import OtherAnswersError
from ftbridge.evaluation.evaluate import evaluate
from ftbridge.evaluation.judge import Written
from ftbridge.evaluation.record import test_part
from ftbridge.evaluation.sweep.record import FILE, FOLDER, Point, Sweep, load_sweep
from ftbridge.evaluation.sweep.results import SweepResults, results_of
from ftbridge.experiments.sweep.data import PointData, base_of_conversion, convert_shared
from ftbridge.experiments.sweep.options import (
    RandomChoice,
    Setting,
    SweepFile,
    Values,
    load_sweep_file,
    number_of_points,
    settings_of,
    varied_and_constant,
)
from ftbridge.experiments.sweep.train_points import Book, fail_point, train_points
from ftbridge.experiments.training import PlannedTraining, data_digests, plan_training
from ftbridge.launchers.runs.record import utc_now

MOST_POINTS = 200  # that are trained without a question
_NAME = re.compile(r"[\w一-鿿][\w一-鿿-]*")


def sweep(  # noqa: PLR0913 - the options of the command, all by name
    file: str | os.PathLike[str] | None = None,
    *,
    name: str = "",
    grid: Mapping[str, Sequence[Any]] | None = None,
    points: Sequence[Mapping[str, Any]] = (),
    random: RandomChoice | None = None,
    seeds: Sequence[int] = (),
    metric: str = "",
    convert: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | None = None,
    parallel: bool = False,
    max_points: int = MOST_POINTS,
) -> SweepResults:
    """Train and evaluate each point of a sweep that is not done yet, and return what all have come to, best first.

    A YAML `file` holds what is varied, or `grid` (values by option), `points` (options of each) or `random` do; `seeds`
    repeats each point. `convert`, `train` and `evaluate` are the options that all points have, beside those of
    ftbridge.yaml. With `parallel` each GPU trains a point at a time. All lies in `sweeps/NAME` of the project, and what
    is done there, by its content, is not done again. Raises UsageError for what cannot be varied, QuestionError
    for more than `max_points`, InputError where data or base are not there, InterruptedRun after Ctrl-C; a point that
    fails is told in its row.
    """
    project = Project.find()
    own = {"grid": grid, "points": points, "random": random}
    if file and any(own.values()):
        raise UsageError("what is varied stands in a file or in options; leave one of them out")
    if file:
        asked = load_sweep_file(Path(file).expanduser())
        name = name or asked.name or Path(file).stem
    else:
        asked = SweepFile(
            grid={key: [*values] for key, values in (grid or {}).items()},
            points=[dict(each) for each in points],
            random=random,
        )
    asked = replace(
        asked,
        name=name,
        seeds=[*seeds] or asked.seeds,
        metric=metric or asked.metric,
        convert=asked.convert | dict(convert or {}),
        train=asked.train | dict(train or {}),
        evaluate=asked.evaluate | dict(evaluate or {}),
    )
    return run_sweep(project, asked, parallel=parallel, max_points=max_points)


def run_sweep(
    project: Project, asked: SweepFile, *, parallel: bool = False, max_points: int = MOST_POINTS
) -> SweepResults:
    """Do what `sweep` does, beginning from the settings of `project`; a recipe's has none."""
    if (number := number_of_points(asked)) > max_points:
        raise QuestionError(
            f"these are {number:,} points, and each is a training", {"train them all": ["--max-points", str(number)]}
        )
    settings = settings_of(asked)
    varied, constant = varied_and_constant(settings)
    name = asked.name or "-".join(varied).replace(".", "-") or "sweep"
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` is no name for a sweep; use letters, digits, `-`, `_` and Chinese characters")
    folder = project.folder / FOLDER / name
    train = _base_of_training(project, asked.train)
    converts = bool(asked.convert) or any(each.convert for each in settings)
    conversion = base_of_conversion(project, asked.convert) if converts else {}
    settings = [_with_whole_paths(each) for each in settings]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / FILE, patience=1), contextlib.chdir(folder):
        _write_project_file(project, folder)
        inside = Project.find()
        data = convert_shared(folder, conversion, settings) if converts else [PointData()] * len(settings)
        points, planned = _plan_points(inside, settings, data, train, asked)
        book = Book(_record(folder, name, asked, varied, constant, points, planned))
        with _kept_after_ctrl_c(book):
            train_points(book, inside, planned, parallel=parallel)
            _evaluate_points(book, planned, asked.evaluate)
    return results_of(book.sweep)


def _base_of_training(project: Project, given: Mapping[str, Any]) -> Values:
    """Return the options of the training that all points begin from, with whole paths."""
    values = {**project.settings.train, **given}
    state = project.state()
    values.setdefault("dataset", state.dataset)
    place = project.folder / str(values.get("dataset_dir") or state.dataset_dir or "data")
    values["dataset_dir"] = str(place.resolve())
    return {key: _whole(key, value, project.folder) for key, value in values.items() if value not in ("", None)}


def _with_whole_paths(setting: Setting) -> Setting:
    return replace(setting, train={key: _whole(key, value, Path.cwd()) for key, value in setting.train.items()})


def _whole(key: str, value: Any, folder: Path) -> Any:
    """Return an option that may be a path as a whole path, where something is there."""
    if key in {"model", "chat_template", "deepspeed"} and isinstance(value, str):
        path = folder / Path(value).expanduser()
        return os.path.normpath(path) if path.exists() else value
    return value


def _write_project_file(project: Project, folder: Path) -> None:
    """Make the sweep's folder a project of its own, with the interpreters of the one around it."""
    import yaml

    backends = {
        name: {
            key: str(project.folder / Path(value).expanduser())
            for key, value in msgspec.structs.asdict(each).items()
            if value
        }
        for name, each in project.settings.backends.items()
    }
    head = "# Of a sweep: `ftbridge sweep` writes this anew.\n"
    write_atomic(folder / SETTINGS, head + yaml.safe_dump({"backends": backends} if backends else {}))


def _plan_points(
    project: Project, settings: Sequence[Setting], data: Sequence[PointData], train: Values, asked: SweepFile
) -> tuple[list[Point], dict[int, PlannedTraining]]:
    """Return all points, and the trainings of those that can be trained, by their numbers.

    Raises UsageError where two come to the same training, or there would be no questions to evaluate them by.
    """
    points: list[Point] = []
    planned: dict[int, PlannedTraining] = {}
    by_key: dict[str, int] = {}
    for setting, own in zip(settings, data, strict=True):
        for seed in asked.seeds or [None]:
            at, point = len(points), Point(values=setting.shown, seed=seed, error=own.error)
            if not own.error:
                options = {**train, **setting.train}
                if own.dataset:
                    options |= {"dataset": own.dataset, "dataset_dir": own.dataset_dir}
                if seed is not None:
                    options["seed"] = seed
                try:
                    planned[at] = plan_training(project, options)
                except InputError as error:
                    point = replace(point, error=str(error))
                else:
                    point = replace(point, key=planned[at].key)
                    first = by_key.setdefault(point.key, at)
                    if first != at:
                        raise UsageError(
                            f"the points {first + 1} ({points[first].title}) and {at + 1} ({point.title}) come to the "
                            "same training; leave one out"
                        )
            points.append(point)
    if not asked.evaluate.get("dataset"):
        _refuse_without_test_part(planned.values())
    return points, planned


def _refuse_without_test_part(planned: Iterable[PlannedTraining]) -> None:
    for each in planned:
        folder = Path(each.spec.dataset_dir).absolute()
        full = registry.look_up(folder, each.spec.dataset)[0]
        if (part := test_part(full)) not in registry.read_entries(folder):
            raise UsageError(
                f"the points are evaluated on a test part, and there is no `{part}` in `{folder}`: convert with one "
                "(`--split 8:1:1`), or name a dataset under `evaluate`"
            )


def _record(
    folder: Path,
    name: str,
    asked: SweepFile,
    varied: tuple[str, ...],
    constant: Mapping[str, Any],
    points: Sequence[Point],
    planned: Mapping[int, PlannedTraining],
) -> Sweep:
    """Return the sweep's record, written, with what is done already; raises InputError where a base has changed."""
    before = load_sweep(folder) if (folder / FILE).is_file() else None
    bases = {each.spec.model: each.base for each in planned.values()}
    known = {point.key: point for point in (*before.points, *before.earlier) if point.key} if before else {}
    if before:
        _refuse_changed_bases(before, bases)
    keys = {point.key for point in points}
    return Sweep(
        name=name,
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
            f"the base model `{changed}` is not the one that {counted(done, 'point')} of this sweep had: put it back "
            "as it was, or give this sweep another name (`--name`)"
        )


@contextlib.contextmanager
def _kept_after_ctrl_c(book: Book) -> Iterator[None]:
    """Say after Ctrl-C what is done, and how to go on."""
    try:
        yield
    except (InterruptedRun, KeyboardInterrupt):
        done = sum(book.is_trained(at) for at in range(len(book.sweep.points)))
        raise InterruptedRun(
            f"stopped; {done} of {counted(len(book.sweep.points), 'point is', 'points are')} trained and kept in "
            f"{book.sweep.folder}, and the same command goes on from there"
        ) from None


def _evaluate_points(book: Book, planned: Mapping[int, PlannedTraining], options: Mapping[str, Any]) -> None:
    """Evaluate the trained points whose evaluation is not there, those of the same questions together."""
    by_data: dict[str, list[int]] = {}
    for at in planned:
        if book.is_trained(at):
            by_data.setdefault(_judged_by(planned[at], options), []).append(at)
    for judged, members in by_data.items():
        waiting = [at for at in members if not _is_judged(book, at, judged)]
        if not waiting:
            continue
        say(f"\nevaluating {counted(len(waiting), 'point')} ...")
        runs = [book.sweep.path / "runs" / book.sweep.points[at].run for at in waiting]
        found = _evaluated(runs, options)
        for at, each in zip(waiting, found, strict=True):
            if isinstance(each, FtbridgeError):
                book.change(at, evaluation="", judged="")
                fail_point(book, at, each)
            else:
                place = os.path.relpath(each.file, book.sweep.path)
                book.change(at, evaluation=place, judged=judged, error="")


def _evaluated(runs: Sequence[Path], options: Mapping[str, Any]) -> Iterator[Written | FtbridgeError]:
    """Yield the evaluation of each run: of all together, for which the base is loaded once, or else of each by itself.

    What fails of one is yielded in its place; what the others have answered meanwhile is not asked again.
    """
    if len(runs) > 1:
        try:
            yield from _evaluated_anew(runs, options)[: len(runs)]
        except InterruptedRun:
            raise
        except FtbridgeError:
            pass
        else:
            return
    for run in runs:
        try:
            yield _evaluated_anew([run], options)[0]
        except InterruptedRun:
            raise
        except FtbridgeError as error:
            yield error


def _evaluated_anew(runs: Sequence[Path], options: Mapping[str, Any]) -> tuple[Written, ...]:
    """Return the evaluations of runs; where they have answers to other options, all are asked anew."""
    try:
        return evaluate(*runs, **options).evaluations
    except OtherAnswersError:
        return evaluate(*runs, **{**options, "replace": True}).evaluations


def _judged_by(planned: PlannedTraining, options: Mapping[str, Any]) -> str:
    """Return what tells an evaluation of one point from others: its options and questions."""
    folder = Path(str(options.get("dataset_dir") or planned.spec.dataset_dir)).absolute()
    name = str(options.get("dataset") or test_part(registry.look_up(folder, planned.spec.dataset)[0]))
    content = [dict(options), sorted(data_digests(folder, name).values()), __version__]
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def _is_judged(book: Book, at: int, judged: str) -> bool:
    point = book.sweep.points[at]
    return point.judged == judged and (book.sweep.path / point.evaluation).is_file()
