"""The source of `export`, `merge` and `chat`: a run, or a folder with a checkpoint, an adapter or a model."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.project import Project
from ftbridge.language import gettext as _
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.runs.record import Run, all_runs, load_run, match_run, status_in_words
from ftbridge.launchers.runs.training_log import still_training


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """A run of ours (`run`), or a folder that holds a checkpoint, an adapter or a model.

    `checkpoint` is which of the run's is meant, None for the last.
    """

    project: Project
    folder: Path
    run: Run | None
    checkpoint: Path | None = None


def resolve(source: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None = None) -> ModelSource:
    """Return the run called `source`, the folder `source`, or, for None, the last run that succeeded.

    A run's checkpoint, given as the source, means the run and this checkpoint of it.
    `checkpoint` chooses one of the run's: `last` (the default), `best`, an optimiser step, or its name or path.
    Raises InputError where there is none like that, UsageError where the source is no run.
    """
    found = _resolve_name(source)
    if checkpoint is None:
        if found.run and not found.checkpoint and (newest := checkpoints.last_checkpoint(found.run)):
            checkpoints.warn_of_unreadable(found.run, newest)
        return found
    if not found.run:
        raise UsageError(
            _("`--checkpoint` chooses one of a run's checkpoints, and `{folder}` is not a run; leave it out").format(
                folder=found.folder
            )
        )
    wanted = os.fspath(checkpoint)
    chosen = checkpoints.find_checkpoint(found.run, wanted)
    if wanted in {"last", "best"}:
        checkpoints.warn_of_unreadable(found.run, chosen, best=wanted == "best")
    return msgspec.structs.replace(found, checkpoint=chosen)


def _resolve_name(source: str | os.PathLike[str] | None) -> ModelSource:
    project = Project.find()
    if source is None:
        run = last_succeeded(project)
        say(_("using {id}, the last run that succeeded").format(id=run.id))
        return ModelSource(project=project, folder=run.path, run=run)
    name = os.fspath(source)
    path = Path(name).expanduser()
    if (path / "run.json").is_file():
        return ModelSource(project=project, folder=path.resolve(), run=load_run(path.resolve()))
    if path.exists():
        return _run_of_checkpoint(project, path.resolve()) or ModelSource(
            project=project, folder=path.resolve(), run=None
        )
    run = match_run(project, name)
    return ModelSource(project=project, folder=run.path, run=run)


def _run_of_checkpoint(project: Project, path: Path) -> ModelSource | None:
    """Return the run that has `path` as a readable checkpoint, with it chosen; None where there is none."""
    for folder in path.parents[:2]:
        if (folder / "run.json").is_file():
            run = load_run(folder)
            with suppress(InputError):
                chosen = checkpoints.find_checkpoint(run, str(path))
                return ModelSource(project=project, folder=folder, run=run, checkpoint=chosen)
    return None


def last_succeeded(project: Project) -> Run:
    """Return the last run that succeeded; one that is newer and still trains is said.

    Raises InputError where none has succeeded, QuestionError where a newer one that did not has saved a checkpoint.
    """
    runs = all_runs(project)
    at = max((number for number, run in enumerate(runs) if run.status == "succeeded"), default=-1)
    newer = runs[at + 1 :]
    if at < 0:
        raise InputError(_without_success(project, runs))
    ended = [run for run in reversed(newer) if run.status in {"failed", "interrupted"}]
    for run in ended:
        if saved := checkpoints.last_checkpoint(run):
            raise _question(runs[at], run, saved)
    if ended:
        message = _("note: the newer run `{id}` {ended}, and saved no checkpoint")
        say(message.format(id=ended[0].id, ended=_ending(ended[0])))
    if newer and newer[-1].status == "running":
        say(still_training(newer[-1]))
    return runs[at]


def _without_success(project: Project, runs: list[Run]) -> str:
    if runs and runs[-1].status == "running":
        return still_training(runs[-1])
    for run in reversed(runs):
        if run.status in {"failed", "interrupted"} and checkpoints.last_checkpoint(run):
            return _(
                "no run has succeeded in `{folder}` yet; `{id}` {status} and left a checkpoint: "
                "`ftbridge train --resume {id}` goes on with it, `ftbridge merge {id}` and `ftbridge chat {id}` take it"
            ).format(folder=project.runs, id=run.id, status=_ending(run))
    if runs:
        return _(
            "no run has succeeded in `{folder}` yet; `{id}` {status}: `ftbridge runs logs {id}` shows how it ended"
        ).format(folder=project.runs, id=runs[-1].id, status=status_in_words(runs[-1].status))
    return _("there is no run in `{folder}` yet; start one with `ftbridge train`").format(folder=project.runs)


def _question(good: Run, newer: Run, saved: Path) -> QuestionError:
    """Return the question whether a run that succeeded is meant, or a newer one that did not, and has `saved`."""
    answers = {
        _("use the last run that succeeded"): [good.id],
        _("use the newest checkpoint of the newer run ({name})").format(name=saved.name): [newer.id],
    }
    reason = _("a newer run, `{newer}`, {ended}; `{good}` is older and succeeded: which one is meant?")
    return QuestionError(reason.format(newer=newer.id, ended=_ending(newer), good=good.id), answers)


def _ending(run: Run) -> str:
    return _("failed") if run.status == "failed" else _("was interrupted")


def say_unfinished(source: ModelSource) -> None:
    """Say which checkpoint is taken of a run that failed or was interrupted; nothing of any other."""
    run = source.run
    if not run or run.status not in {"failed", "interrupted"}:
        return
    used = checkpoint_of(source)
    step = checkpoints.step_as_text(run, used)
    message = (
        _("note: the run `{id}` {ended}; its checkpoint `{name}` is taken (step {step} of {steps})")
        if step
        else _("note: the run `{id}` {ended}; its checkpoint `{name}` is taken")
    )
    say(message.format(id=run.id, ended=_ending(run), name=used.name, step=step, steps=run.steps))


def target_of(source: ModelSource, out: str | os.PathLike[str] | None, name: str) -> Path:
    """Return where to write: `out`, else the folder `name` of a run, or `name-CHECKPOINT` of another than its last.

    Raises InputError for a folder without `out`.
    """
    if out:
        return Path(out)
    if not source.run:
        raise InputError(_("a folder that is not a run needs `--out DIR`"))
    chosen = source.checkpoint
    if not chosen or chosen == checkpoints.last_checkpoint(source.run):
        return source.folder / name
    return source.folder / f"{name}-{chosen.stem}"


def is_whole_model(folder: Path) -> bool:
    """Tell whether a folder holds a whole model, by its config.json, and no adapter."""
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


def checkpoint_of(source: ModelSource) -> Path:
    """Return the chosen checkpoint of a run (default: the newest readable one), or the folder or file itself."""
    if not source.run:
        return source.folder
    return source.checkpoint or checkpoints.find_checkpoint(source.run, "last")
