"""The runs of this project: what `ftbridge runs` does, in Python.

Each function is called as its command. A run is named by its id, by a beginning that no other id has, or by the Run
that `train` returns; where none is named, the newest is meant, to stop one the only one that runs. All raise InputError
for a run that is not there.
"""

import builtins
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import msgspec

from ftbridge.core.console import say
from ftbridge.core.console.notebook import Listing, ShownAsTable
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.evaluation.record import MAIN_FIGURES, Comparison, evaluation_files, load_evaluation
from ftbridge.language import english, joined
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.runs import checkpoints, record, summary, training_log
from ftbridge.launchers.runs.charts.loss_plot import LossPlot
from ftbridge.launchers.runs.charts.picture import picture_file
from ftbridge.launchers.runs.prune import Leftover, find_leftovers, find_unused, remove_leftovers
from ftbridge.launchers.runs.record import Run, status_in_words
from ftbridge.launchers.runs.summary import RunSummary

__all__ = ["compare", "get", "list", "logs", "losses", "plot", "prune", "show", "stop"]


class RunDetails(msgspec.Struct, frozen=True):
    """A run in full: its record, its line of the list, and its readable checkpoints, the last one last.

    `best` is the one with the lowest validation loss, None without a validation.
    """

    run: Run
    summary: RunSummary
    checkpoints: tuple[Path, ...]
    best: Path | None


class RunComparison(ShownAsTable, msgspec.Struct, frozen=True):
    """What differs between runs: `differences` maps an option, a version or a figure to its value in each of `runs`.

    `evaluations` compare the answers of the first run with each other one's, on each dataset that both answered.
    """

    runs: tuple[str, ...]
    differences: dict[str, builtins.list[object]]
    evaluations: tuple[Comparison, ...] = ()


def list() -> builtins.list[RunSummary]:  # noqa: A001 - called as the command, and always after a dot
    """Return a line for each run, oldest first; a record that cannot be read is named on stderr and left out."""
    return Listing(
        msgspec.structs.replace(summary.summarise_run(run), evaluations=_headlines(run))
        for run in record.all_runs(Project.find())
    )


def get(run: str | Run | None = None) -> Run:
    """Return a run as its record says now; raises InputError, with the closest id, where there is none."""
    if isinstance(run, Run):
        return record.load_run(run.path)
    project = Project.find()
    if run is not None:
        return record.match_run(project, run)
    if not (found := record.all_runs(project)):
        raise InputError(
            _("there is no run in `{runs}` yet; start one with `ftbridge train`").format(runs=project.runs)
        )
    return found[-1]


def show(run: str | Run | None = None) -> RunDetails:
    """Return all that is known of a run: its record, how it went, its checkpoints."""
    found = get(run)
    saved = load_backend(found.spec.backend).checkpoints(found.path)
    shown = msgspec.structs.replace(summary.summarise_run(found), evaluations=_headlines(found))
    return RunDetails(found, shown, tuple(saved), checkpoints.best_checkpoint(found))


def logs(run: str | Run | None = None, *, follow: bool = False) -> Iterator[bytes]:
    """Yield what the framework wrote, in pieces; with `follow`, what comes until the run ends, too."""
    return record.follow_log(get(run), wait=follow)


def losses(run: str | Run | None = None) -> builtins.list[dict[str, float]]:
    """Return what was measured, in order: dicts of `step`, `loss` and `learning_rate`, or `step`, `validation_loss`."""
    return training_log.read_curve(get(run))


@overload
def plot(*runs: str | Run, png: None = None) -> LossPlot: ...
@overload
def plot(*runs: str | Run, png: str | os.PathLike[str]) -> Path: ...
def plot(*runs: str | Run, png: str | os.PathLike[str] | None = None) -> LossPlot | Path:
    """Return the training and validation losses of `runs` as lines for a terminal, or the picture drawn to `png`.

    In a notebook the lines show as the picture. Raises UsageError where something else is at `png`, InputError where
    no loss was logged yet.
    """
    chosen = [get(run) for run in runs or (None,)]
    project = Project.find()
    python = partial(interpreter, project, any_backend(project, chosen[0].spec.backend))
    if not png:
        return LossPlot(chosen, python)
    path = picture_file(png)
    found = LossPlot(chosen, python)
    if not found.curves:
        raise InputError(
            _("no loss was logged yet in {ids}; nothing was plotted").format(
                ids=joined(", ", (run.id for run in chosen))
            )
        )
    write_atomic(path, found.picture())
    return path


def compare(*runs: str | Run) -> RunComparison:
    """Return in which options, versions and data `runs` differ, and how their losses ended.

    Raises UsageError for fewer than two.
    """
    found = [get(run) for run in runs] if len(runs) > 1 else []
    if len({run.id for run in found}) < 2:  # noqa: PLR2004
        raise UsageError(_("give at least two runs to compare; `ftbridge runs list` shows them"))
    differences = summary.compare_runs(found)
    headlines = [_headlines(run) for run in found]
    for name in dict.fromkeys(name for each in headlines for name in each):
        differences[name] = [each.get(name) for each in headlines]
    return RunComparison(tuple(run.id for run in found), differences, tuple(_compare_answers(found)))


def _headlines(run: Run) -> dict[str, float]:
    """Return what a run's evaluations are judged by, as in `accuracy on medqa-test`; damaged ones are named."""
    found = {}
    for file in evaluation_files(run):
        try:
            each = load_evaluation(file)
        except InputError as error:
            say(_("warning: {error}").format(error=error))
            continue
        at = _(" at {checkpoint}").format(checkpoint=each.model.checkpoint) if each.model.checkpoint else ""
        at += _(" by {name}").format(name=each.engine.name) if each.engine.name != "transformers" else ""
        figure = each.scores.main_figure
        found[f"{MAIN_FIGURES[figure]} on {each.dataset}{english(at)}"] = each.scores.figures[figure].value
    return found


def _compare_answers(runs: Sequence[Run]) -> Iterator[Comparison]:
    """Yield how the answers of the first run differ from each other one's, where both answered the same questions."""
    from ftbridge.evaluation.evaluate import compare_evaluations, is_comparable

    first, *others = ([load_evaluation(file) for file in evaluation_files(run)] for run in runs)
    for one in first:
        for other in (each for evaluations in others for each in evaluations):
            at_end = not (one.model.checkpoint or other.model.checkpoint)
            if at_end and one.engine.name == other.engine.name and is_comparable(one, other):
                yield compare_evaluations(one, other)


def stop(run: str | Run | None = None, *, mark_failed: bool = False) -> Run:
    """End a running run, for None the only one that runs, and return it; what it has saved stays.

    `mark_failed` says instead that a run whose status is unknown has ended, and stops nothing. Raises UsageError where
    the run is not running, or cannot be seen from here, or none or several are meant, SetupError where it is another
    user's.
    """
    found = _only_running("unknown" if mark_failed else "running") if run is None else get(run)
    return record.mark_failed(found) if mark_failed else record.stop_run(found)


def _only_running(status: str) -> Run:
    """Return the only run of a status; raises UsageError, with those that there are, for none or several."""
    found = [run for run in record.all_runs(Project.find()) if run.status == status]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            _("there is nothing to stop: no run has the status {status}; `ftbridge runs list` shows all runs").format(
                status=status_in_words(status)
            )
        )
    ids = joined(", ", (f"`{run.id}`" for run in found))
    which = _("these have the status {status}: {ids}").format(status=status_in_words(status), ids=ids)
    raise UsageError(_("name the run to stop, as in `ftbridge runs stop RUN`; {which}").format(which=which))


def prune(*, keep: int | None = None, checkpoints: bool = False, dry_run: bool = False) -> builtins.list[Leftover]:
    """Remove runs that failed or were interrupted, ready tokens and mixtures that no run uses; return what went.

    Never one that runs or may.
    With `keep`, succeeded runs but the newest so many go, too; with `checkpoints`, old ones of succeeded runs. With
    `dry_run` nothing goes, and what would is returned. Raises SetupError where something cannot be removed.
    """
    project = Project.find()
    runs = record.all_runs(project)
    found = find_leftovers(runs, keep, checkpoints=checkpoints)
    found += find_unused(project, runs, found)
    return found if dry_run else remove_leftovers(found)
