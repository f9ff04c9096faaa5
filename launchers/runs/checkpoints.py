"""Which checkpoint of a run is the last, which the best, and which is of a certain step."""

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.launchers.runs.record import Run

PICKLED = {".pt", ".pth", ".bin"}


def last(run: Run) -> Path | None:
    """Return the newest readable checkpoint, None where there is none."""
    return next(reversed(load_backend(run.spec.backend).checkpoints(run.path)), None)


def best(run: Run) -> Path | None:
    """Return the readable checkpoint with the lowest validation loss, None without a validation."""
    return next(iter(load_backend(run.spec.backend).checkpoints(run.path, best=True)), None)


def find_checkpoint(run: Run, wanted: str) -> Path:
    """Return what `wanted` means: `last`, `best`, an optimiser step, or a checkpoint's name or path.

    Raises InputError, with what there is, where the run has no such checkpoint that can be read.
    """
    if wanted in {"last", "best"}:
        chosen = last(run) if wanted == "last" else best(run)
        why = "; a run without a validation has no best one" if wanted == "best" else ""
    else:
        backend = load_backend(run.spec.backend)
        known = [*backend.checkpoints(run.path, best=True), *backend.checkpoints(run.path)]
        path = Path(wanted).expanduser().resolve()
        fitting = [
            each
            for each in known
            if each.resolve() == path or wanted in {each.name, each.stem, _step(run, backend, each)}
        ]
        chosen = fitting[-1] if fitting else None
        why = "; there are " + ", ".join(f"`{each.name}`" for each in known) if known else ""
    if not chosen:
        raise InputError(f"the run `{run.id}` ({run.status}) has no readable checkpoint `{wanted}`{why}")
    return chosen


def say_passed_over(run: Run, chosen: Path, whole: Collection[Path] = (), *, best: bool = False) -> None:
    """Name what the run has saved after `chosen` and what cannot be used, with the reason.

    `whole` is what can be used where that is not all that can be read. For the `best`, all that was saved counts: any
    of it may have been better.
    """
    module = load_backend(run.spec.backend)
    known = whole or [*module.checkpoints(run.path), *module.checkpoints(run.path, best=True)]
    readable = {path.name for path in known}
    names = {path.name for path in chosen.parent.iterdir()}
    names |= set() if best else {Path(name).name for name in run.checkpoints}  # `prune` has taken older ones away
    least = -1 if best else _number(chosen.name, chosen.name)
    numbers = sorted((_number(name, chosen.name), name) for name in names - readable)
    found = [chosen.parent / name for number, name in numbers if number > least]
    if not best and any(safetensors_header(file) is None for file in chosen.parent.glob("*.safetensors")):
        found.append(chosen.parent)  # what LLaMA-Factory ends with
    for path in found:
        say(f"warning: `{path.name}` of run `{run.id}` cannot be read ({_why(path)}): taking `{chosen.name}`")


def _number(name: str, like: str) -> int:
    """Return the number in a checkpoint's name that is otherwise `like` another's; -1 where it is not."""
    stem, number, end = re.split(r"(\d+)", like, maxsplit=1) if re.search(r"\d", like) else (like, "", "")
    found = re.fullmatch(f"{re.escape(stem)}(\\d+){re.escape(end)}", name) if number else None
    return int(found[1]) if found else -1


def _why(path: Path) -> str:
    """Return why a checkpoint cannot be read."""
    if not path.exists():
        return "it is gone"
    if path.is_file():
        return "it is no whole zip file, as torch writes them"
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        if file.suffix == ".safetensors" and safetensors_header(file) is None:
            return f"`{file.name}` is not whole"
        if file.suffix in PICKLED and not zipfile.is_zipfile(file):
            return f"`{file.name}` is no whole zip file, as torch writes them"
    return "files of it are missing"


def _step(run: Run, backend: Backend, path: Path) -> str | None:
    """Return the optimiser step of a checkpoint as people write it, None without one."""
    step = backend.checkpoint_step(path, run.spec.gradient_accumulation_steps)
    return None if step is None else f"{step:g}"
