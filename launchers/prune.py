"""What of old runs can go, and away with it."""

import shutil
from pathlib import Path

import msgspec

from ftbridge.core.errors import SetupError
from ftbridge.core.plugins import backend as load_backend
from ftbridge.launchers.checkpoints import best
from ftbridge.launchers.runs import Run, load


class Leftover(msgspec.Struct, frozen=True):
    """A run's folder, or a checkpoint of one: why it may go, and its size in bytes."""

    path: str
    run: str
    why: str
    size: int


def leftovers(found: list[Run], keep: int | None = None, *, checkpoints: bool = False) -> list[Leftover]:
    """Return what may go of `found`, which are in order: runs that did not succeed, never one that runs, or may.

    With `keep`, of at least 1, also those that succeeded but the newest so many; with `checkpoints`, also the
    checkpoints of succeeded runs but the last and the one with the lowest validation loss.
    """
    good = [run for run in found if run.status == "succeeded"]
    old = good[:-keep] if keep else []
    runs = [run for run in found if run.status in {"failed", "interrupted"} or run in old]
    gone = [_leftover(run.path, run, "older" if run in old else run.status) for run in runs]
    for run in good if checkpoints else ():
        if run not in old:
            gone += [_leftover(path, run, "checkpoint") for path in _old_checkpoints(run)]
    return gone


def remove(gone: list[Leftover]) -> int:
    """Remove what `leftovers` found and return its bytes; a run that has been resumed since stays.

    Raises SetupError where something cannot be removed.
    """
    freed = 0
    for each in gone:
        path = Path(each.path)
        folder = path if (path / "run.json").exists() else path.parents[1]
        if load(folder).status in {"running", "unknown"}:
            continue
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise SetupError(f"cannot remove `{path}`: {error.strerror or error}") from error
        freed += each.size
    return freed


def _old_checkpoints(run: Run) -> list[Path]:
    kept = best(run)
    return [path for path in load_backend(run.spec.backend).checkpoints(run.path)[:-1] if path != kept]


def _leftover(path: Path, run: Run, why: str) -> Leftover:
    files = path.rglob("*") if path.is_dir() else [path]
    return Leftover(str(path), run.id, why, sum(file.lstat().st_size for file in files if file.is_file()))
