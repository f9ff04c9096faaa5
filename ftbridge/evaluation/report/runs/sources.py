"""What a report is of: runs and evaluations, found by what somebody has typed."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.project import Project
from ftbridge.evaluation.evaluate import compare_evaluations
from ftbridge.evaluation.record import FILE, Comparison, Evaluation, evaluation_files, load_evaluation
from ftbridge.evaluation.sweep.record import FILE as SWEEP
from ftbridge.evaluation.sweep.record import FOLDER as SWEEPS
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run, find_run, load_run, match_run
from ftbridge.weights.source import last_succeeded

COMPARED = "comparison.json"


class Measured(msgspec.Struct, frozen=True):
    """An evaluation with its file, and the run whose model answered, None where that is not known here."""

    file: Path
    evaluation: Evaluation
    run: Run | None


class Group(msgspec.Struct, frozen=True):
    """The evaluations of the same questions, those named first first, and what is on record of pairs of them.

    `checkpoints` are of the same run as the first, whose checkpoint is its last one.
    """

    members: tuple[Measured, ...]
    checkpoints: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Measured:
        """Return the evaluation that the report tells most of."""
        return self.members[0]


class Found(msgspec.Struct, frozen=True):
    """What a report is of: the runs, in the order in which they were named, and evaluations by what was asked."""

    project: Project
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]


class _ComparedFile(msgspec.Struct, frozen=True):
    """What is read of a comparison.json."""

    dataset: str = ""
    evaluations: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


def find(sources: Sequence[str | os.PathLike[str]]) -> Found:
    """Return what is meant by `sources`: runs, folders and evaluation.json files, or the last run that succeeded.

    Raises InputError where there is none like that, or an evaluation.json is damaged.
    """
    project = Project.find()
    runs: dict[str, Run] = {}
    measured: dict[Path, Measured] = {}
    for source in sources or (None,):
        run, files = _run_or_files(project, source)
        if run:
            runs.setdefault(run.id, run)
            files = evaluation_files(run)
        for file in files:
            evaluation = load_evaluation(file)
            own = run or runs.get(evaluation.model.run) or _run_of(project, file, evaluation)
            if own:
                runs.setdefault(own.id, own)
            measured.setdefault(file.resolve(), Measured(file, evaluation, own))
    return Found(project, tuple(runs.values()), tuple(_groups(project, measured.values())))


def _run_or_files(project: Project, source: str | os.PathLike[str] | None) -> tuple[Run | None, list[Path]]:
    if source is None:
        run = last_succeeded(project)
        say(_("using {id}, the last run that succeeded").format(id=run.id))
        return run, []
    if isinstance(source, Run):
        return load_run(source.path), []
    path = Path(source).expanduser()
    if path.is_file():
        return None, _files_compared(path) if path.name == COMPARED else [path]
    if (path / "run.json").is_file():
        return load_run(path.resolve()), []
    if path.is_dir():
        files = [*path.glob(f"**/{FILE}")]
        files += [each for file in path.glob(f"**/{COMPARED}") for each in _files_compared(file)]
        if files:
            return None, sorted(files)
        raise InputError(
            _("there is no `{file}` in `{path}`; `ftbridge evaluate` writes one").format(file=FILE, path=path)
        )
    return _run_typed(project, os.fspath(source)), []


def _run_typed(project: Project, typed: str) -> Run:
    """Return the run that is meant; raises InputError with the closest of runs and sweeps, which are named here too."""
    return match_run(project, typed, [file.parent.name for file in project.folder.glob(f"{SWEEPS}/*/{SWEEP}")])


def _compared_file(file: Path) -> _ComparedFile:
    return load_json(
        read_text(file, _("comparison")), _ComparedFile, _("`{file}` is damaged; evaluate again").format(file=file)
    )


def _files_compared(file: Path) -> list[Path]:
    """Return the evaluation.json files that a comparison.json is of."""
    return [Path(each) for each in _compared_file(file).evaluations]


def _run_of(project: Project, file: Path, evaluation: Evaluation) -> Run | None:
    """Return the run that an evaluation lies in, else the one that it names, where that is here."""
    with suppress(InputError):
        inside = next((at for at in file.absolute().parents if (at / "run.json").is_file()), None)
        if inside:
            return load_run(inside)
        return find_run(project, evaluation.model.run) if evaluation.model.run else None
    return None


def _groups(project: Project, measured: Iterable[Measured]) -> Iterator[Group]:
    """Yield the evaluations by the questions that were asked, and those of a run's earlier checkpoints apart."""
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for each in measured:
        found = each.evaluation
        groups.setdefault((found.dataset, found.data, found.scores.task), []).append(each)
    compared = sorted((project.folder / "evaluations").glob(f"*/{COMPARED}"))
    for same in groups.values():
        members: dict[str, Measured] = {}
        # That of a run's end counts; `sorted` keeps the order in which they were named.
        for each in sorted(same, key=lambda each: bool(each.evaluation.model.checkpoint)):
            members.setdefault(each.evaluation.model.run or each.evaluation.model.title, each)
        yield Group(
            tuple(members.values()),
            tuple(each for each in same if each not in members.values() and each.run),
            tuple(_pairs(compared, [*members.values()])),
        )


def _pairs(compared: Iterable[Path], members: Sequence[Measured]) -> Iterator[Comparison]:
    """Yield how each other model differs from the first: as on record since both were evaluated, else found anew."""
    first, *others = members
    for other in others:
        titles = {first.evaluation.model.title, other.evaluation.model.title}
        since = max(each.file.stat().st_mtime for each in (first, other))
        found = (
            pair
            for file in compared
            if file.stat().st_mtime >= since and _compared_file(file).dataset == first.evaluation.dataset
            for pair in _compared_file(file).comparisons
            if {pair.first, pair.second} == titles
        )
        with suppress(InputError):  # the answers are gone
            yield next(found, None) or compare_evaluations(first.evaluation, other.evaluation)
