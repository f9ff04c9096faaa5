"""Which checkpoint of a run is the last, which the best, and which is of a certain step."""

import re
from pathlib import Path

from ftbridge.core.errors import InputError
from ftbridge.core.plugins import backend as load_backend
from ftbridge.launchers.runs import Run


def last(run: Run) -> Path | None:
    """Return the newest readable checkpoint, None where there is none."""
    return next(reversed(load_backend(run.spec.backend).checkpoints(run.path)), None)


def best(run: Run) -> Path | None:
    """Return the readable checkpoint with the lowest validation loss, None without a validation."""
    return next(iter(load_backend(run.spec.backend).checkpoints(run.path, best=True)), None)


def named(run: Run, wanted: str) -> Path:
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
            each for each in known if each.resolve() == path or wanted in {each.name, each.stem, _step(run, each)}
        ]
        chosen = fitting[-1] if fitting else None
        why = "; there are " + ", ".join(f"`{each.name}`" for each in known) if known else ""
    if not chosen:
        raise InputError(f"the run `{run.id}` ({run.status}) has no readable checkpoint `{wanted}`{why}")
    return chosen


def _step(run: Run, path: Path) -> str | None:
    """Return the optimiser step in a checkpoint's name, None without one; XTuner's names count iterations."""
    number = re.search(r"\d+$", path.stem)
    each = run.spec.gradient_accumulation_steps if run.spec.backend == "xtuner" else 1
    return f"{int(number[0]) / each:g}" if number else None
