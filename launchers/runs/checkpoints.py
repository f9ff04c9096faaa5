"""Which checkpoint of a run is the last, which the best, and which is of a certain step."""

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.plugins import load_backend
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.runs.record import Run, status_in_words
from ftbridge.launchers.runs.training_log import still_training

PICKLED = {".pt", ".pth", ".bin"}


def last_checkpoint(run: Run) -> Path | None:
    """Return the newest readable checkpoint, None where there is none."""
    return next(reversed(load_backend(run.spec.backend).checkpoints(run.path)), None)


def best_checkpoint(run: Run) -> Path | None:
    """Return the readable checkpoint with the lowest validation loss, None without a validation."""
    return next(iter(load_backend(run.spec.backend).checkpoints(run.path, best=True)), None)


def find_checkpoint(run: Run, wanted: str) -> Path:
    """Return the checkpoint that `wanted` names: `last`, `best`, an optimiser step, or a checkpoint's name or path.

    Raises InputError, with what there is, where the run has no such checkpoint that can be read.
    """
    if wanted == "last":
        if last := last_checkpoint(run):
            return last
        raise InputError(_without_checkpoint(run))
    if wanted == "best":
        chosen, why = best_checkpoint(run), _("; a run without a validation has no best one")
    else:
        chosen, why = _named_checkpoint(run, wanted)
    if not chosen:
        raise InputError(
            _("the run `{id}` ({status}) has no readable checkpoint `{wanted}`{why}").format(
                id=run.id, status=status_in_words(run.status), wanted=wanted, why=why
            )
        )
    return chosen


def _named_checkpoint(run: Run, wanted: str) -> tuple[Path | None, str]:
    """Return the checkpoint of a step, name or path, None for none, and those that there are."""
    backend = load_backend(run.spec.backend)
    known = [*backend.checkpoints(run.path, best=True), *backend.checkpoints(run.path)]
    path = Path(wanted).expanduser().resolve()
    matching = [
        checkpoint
        for checkpoint in known
        if checkpoint.resolve() == path or wanted in {checkpoint.name, checkpoint.stem, step_as_text(run, checkpoint)}
    ]
    chosen = matching[-1] if matching else None
    why = _("; there are ") + joined(", ", (f"`{checkpoint.name}`" for checkpoint in known)) if known else ""
    return chosen, why


def _without_checkpoint(run: Run) -> str:
    """Return why a run has no checkpoint, and what to do."""
    if run.status == "running":
        return _("`{id}` has not saved a checkpoint yet: {training}").format(id=run.id, training=still_training(run))
    return _("`{id}` ({status}) has no readable checkpoint; `ftbridge runs logs {id}` shows how it ended").format(
        id=run.id, status=status_in_words(run.status)
    )


def warn_of_unreadable(run: Run, chosen: Path, usable: Collection[Path] = (), *, best: bool = False) -> None:
    """Warn of each checkpoint that the run has saved after `chosen` and that cannot be used, with the reason.

    `usable` are those that can be used where that is not all that can be read. For the `best`, all that was saved
    counts: any of it may have been better.
    """
    backend = load_backend(run.spec.backend)
    usable = usable or [*backend.checkpoints(run.path), *backend.checkpoints(run.path, best=True)]
    names = {path.name for path in chosen.parent.iterdir()}
    if not best:
        names |= {Path(name).name for name in run.checkpoints}  # `prune` has taken older ones away
    least = -1 if best else _number_in_name(chosen.name, chosen.name)
    numbered = sorted((_number_in_name(name, chosen.name), name) for name in names - {path.name for path in usable})
    unreadable = [chosen.parent / name for number, name in numbered if number > least]
    if not best and any(safetensors_header(file) is None for file in chosen.parent.glob("*.safetensors")):
        unreadable.append(chosen.parent)  # what LLaMA-Factory ends with
    for path in unreadable:
        why = _why_unreadable(path)
        say(
            _("warning: `{name}` of run `{id}` cannot be read ({why}): taking `{chosen_name}`").format(
                name=path.name, id=run.id, why=why, chosen_name=chosen.name
            )
        )


def _number_in_name(name: str, like: str) -> int:
    """Return the number in a checkpoint's name that is otherwise `like` another's; -1 where it is not."""
    if not re.search(r"\d", like):
        return -1
    stem, _number, end = re.split(r"(\d+)", like, maxsplit=1)
    match = re.fullmatch(f"{re.escape(stem)}(\\d+){re.escape(end)}", name)
    return int(match[1]) if match else -1


def _why_unreadable(path: Path) -> str:
    """Return why a checkpoint cannot be read."""
    if not path.exists():
        return _("it is gone")
    if path.is_file():
        return _("it is not a complete zip file as torch writes it")
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        if file.suffix == ".safetensors" and safetensors_header(file) is None:
            return _("`{name}` is incomplete").format(name=file.name)
        if file.suffix in PICKLED and not zipfile.is_zipfile(file):
            return _("`{name}` is not a complete zip file as torch writes it").format(name=file.name)
    return _("files of it are missing")


def step_as_text(run: Run, path: Path) -> str | None:
    """Return the optimiser step of a checkpoint as people write it, None without one."""
    step = load_backend(run.spec.backend).checkpoint_step(path, run.spec.gradient_accumulation_steps)
    return None if step is None else f"{step:g}"
