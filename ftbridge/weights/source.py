"""The source of `export`, `merge` and `chat`: a run, or a folder with a checkpoint, an adapter or a model."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.runs.record import Run, last_run, load_run, match_run


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
            f"`--checkpoint` chooses one of a run's checkpoints, and `{found.folder}` is no run; leave it out"
        )
    wanted = os.fspath(checkpoint)
    chosen = checkpoints.find_checkpoint(found.run, wanted)
    if wanted in {"last", "best"}:
        checkpoints.warn_of_unreadable(found.run, chosen, best=wanted == "best")
    return msgspec.structs.replace(found, checkpoint=chosen)


def _resolve_name(source: str | os.PathLike[str] | None) -> ModelSource:
    project = Project.find()
    if source is None:
        run, newer = last_run(project)
        say(f"using {run.id}, the last run that succeeded{f'; the newer {newer.id} {newer.status}' if newer else ''}")
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


def target_of(source: ModelSource, out: str | os.PathLike[str] | None, name: str) -> Path:
    """Return where to write: `out`, else the folder `name` of a run, or `name-CHECKPOINT` of another than its last.

    Raises InputError for a folder without `out`.
    """
    if out:
        return Path(out)
    if not source.run:
        raise InputError("a folder that is no run needs `--out DIR`")
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
