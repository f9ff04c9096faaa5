"""`ftbridge sweep`: a training for each point, all evaluated on the same questions, in a folder of the sweep's own."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ftbridge.core.console import counted
from ftbridge.core.errors import InterruptedRun, QuestionError, UsageError
from ftbridge.core.files.atomic import locked
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.project import SETTINGS, Project
from ftbridge.evaluation.sweep.record import FILE, FOLDER
from ftbridge.evaluation.sweep.results import METRICS, SweepResults, results_of
from ftbridge.experiments.sweep.data import PointData, base_of_conversion, convert_shared, located, located_baselines
from ftbridge.experiments.sweep.evaluate_points import evaluate_points
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
from ftbridge.experiments.sweep.points import begin_record, plan_points
from ftbridge.experiments.sweep.train_points import Book, train_points
from ftbridge.experiments.training import write_interpreters
from ftbridge.language import gettext as _

MOST_POINTS = 200  # that are trained without a question
_NAME = re.compile(r"[\w一-鿿][\w一-鿿-]*")


def sweep(  # noqa: PLR0913 - the options of the command, all by name
    file: str | os.PathLike[str] | None = None,
    *,
    name: str = "",
    grid: Mapping[str, Sequence[object]] | None = None,
    points: Sequence[Mapping[str, object]] = (),
    random: RandomChoice | None = None,
    seeds: Sequence[int] = (),
    metric: str = "",
    convert: Mapping[str, object] | None = None,
    train: Mapping[str, object] | None = None,
    evaluate: Mapping[str, object] | None = None,
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
        raise UsageError(_("give the sweep as a file or as options, not both"))
    if file:
        asked = load_sweep_file(Path(file).expanduser())
        around = Path(file).expanduser().absolute().parent  # its paths are as seen from the file
        asked = replace(
            asked,
            convert=located(asked.convert, around) if asked.convert else {},
            evaluate=located_baselines(asked.evaluate, around),
        )
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
        evaluate=located_baselines(asked.evaluate | dict(evaluate or {}), Path.cwd()),
    )
    return run_sweep(project, asked, parallel=parallel, max_points=max_points)


def run_sweep(
    project: Project, asked: SweepFile, *, parallel: bool = False, max_points: int = MOST_POINTS
) -> SweepResults:
    """Do what `sweep` does, beginning from the settings of `project`; a recipe's has none."""
    if (number := number_of_points(asked)) > max_points:
        raise QuestionError(
            _("this sweep has {number:,} points, each trained separately").format(number=number),
            {_("train them all"): ["--max-points", str(number)]},
        )
    if asked.metric and asked.metric not in METRICS:
        raise UsageError(
            _("there is no metric `{metric}`{hint}").format(metric=asked.metric, hint=closest(asked.metric, METRICS))
        )
    settings = settings_of(asked)
    varied, constant = varied_and_constant(settings)
    name = asked.name or "-".join(varied or constant).replace(".", "-") or "sweep"
    if not _NAME.fullmatch(name):
        raise UsageError(
            _("`{name}` is not a valid name for a sweep; use letters, digits, `-`, `_` and Chinese characters").format(
                name=name
            )
        )
    folder = project.folder / FOLDER / name
    train = _base_of_training(project, asked.train)
    converts = bool(asked.convert) or any(each.convert for each in settings)
    conversion = base_of_conversion(project, asked.convert) if converts else {}
    settings = [_with_whole_paths(each) for each in settings]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / FILE, patience=1), contextlib.chdir(folder):
        write_interpreters(project, folder / SETTINGS)  # makes it a project of its own
        inside = Project.find()
        data = convert_shared(folder, conversion, settings) if converts else [PointData()] * len(settings)
        points, planned = plan_points(inside, settings, data, train, asked)
        book = Book(begin_record(folder, asked, settings, points, planned))
        with _kept_after_ctrl_c(book):
            train_points(book, inside, planned, parallel=parallel)
            evaluate_points(book, planned, asked.evaluate)
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


@contextlib.contextmanager
def _kept_after_ctrl_c(book: Book) -> Iterator[None]:
    """Say after Ctrl-C what is done, and how to go on."""
    try:
        yield
    except (InterruptedRun, KeyboardInterrupt):
        done = sum(book.is_trained(at) for at in range(len(book.sweep.points)))
        raise InterruptedRun(
            _(
                "stopped; {done} of {points} trained and kept in {folder}, and the same command goes on from there"
            ).format(
                done=done, points=counted(len(book.sweep.points), "point is", "points are"), folder=book.sweep.folder
            )
        ) from None
