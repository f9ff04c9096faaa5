"""Which checkpoint of a run is the last, and which the best."""

from pathlib import Path

from ftbridge.core.plugins import backend as load_backend
from ftbridge.launchers.runs import Run


def last(run: Run) -> Path | None:
    """Return the newest readable checkpoint, None where there is none."""
    return next(reversed(load_backend(run.spec.backend).checkpoints(run.path)), None)


def best(run: Run) -> Path | None:
    """Return the readable checkpoint with the lowest validation loss, None without a validation."""
    return next(iter(load_backend(run.spec.backend).checkpoints(run.path, best=True)), None)
