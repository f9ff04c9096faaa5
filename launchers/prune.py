"""What of old runs can go, and away with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import SetupError
from ftbridge.core.plugins import backend as load_backend
from ftbridge.core.strict import read_json
from ftbridge.launchers.checkpoints import best
from ftbridge.launchers.metrics import FILE
from ftbridge.launchers.runs import Run, load
from ftbridge.launchers.written import foreign, shown

# What training and `predict` put into a run's folder, besides what the launch is told to write.
OWN = ("run.json", "log.txt", "launch.json", "deepspeed.json", FILE, "output", "tracking", "predictions")
# What export and merge put into theirs.
RECORD = "ftbridge.json"


class Leftover(msgspec.Struct, frozen=True):
    """A run's folder, or a checkpoint of one: why it may go, and its size in bytes."""

    path: str
    run: str
    why: str
    size: int


def leftovers(found: list[Run], keep: int | None = None, *, checkpoints: bool = False) -> list[Leftover]:
    """Return what may go of `found`, which are in order: runs that did not succeed, never one that runs, or may.

    With `keep`, of at least 1, also those that succeeded but the newest so many; with `checkpoints`, also the
    checkpoints of succeeded runs but the last and the one with the lowest validation loss. A run stays, and is
    named, where its folder holds what ftbridge did not write, or the base of a run that stays.
    """
    good = [run for run in found if run.status == "succeeded"]
    old = good[:-keep] if keep else []
    runs = [run for run in found if run.status in {"failed", "interrupted"} or run in old]
    runs = [run for run in runs if not _needed(run, [other for other in found if other not in runs])]
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


def _needed(run: Run, others: list[Run]) -> bool:
    """Tell whether a run is to stay, and say why."""
    bases = [
        other.id for other in others if other.model and Path(other.model).resolve().is_relative_to(run.path.resolve())
    ]
    reason = f"it holds the base model of the run `{bases[0]}`" if bases else ""
    if not reason and (strange := list(_foreign(run))):
        reason = f"it holds {', '.join(strange[:5])}{', ...' * bool(strange[5:])}, which ftbridge did not write"
    if reason:
        say(f"`{run.path}` stays: {reason}")
    return bool(reason)


def _foreign(run: Run) -> Iterator[str]:
    """Yield what ftbridge did not write into a run's folder, or into an adapter or model that it made there."""
    made = {*OWN, *(Path(name).name for name in run.launch.files)}
    for path in sorted(run.path.iterdir()):
        record = path / RECORD
        if path.name in made or (path.name.startswith(".") and path.suffix in {".lock", ".part"}):
            continue
        if not record.is_file():
            yield shown(path)
        elif "files" in (known := read_json(record)):
            yield from (f"{shown(path)[:-1]}{name[1:]}" for name in foreign(path, known["files"], RECORD))


def _old_checkpoints(run: Run) -> list[Path]:
    kept = best(run)
    return [path for path in load_backend(run.spec.backend).checkpoints(run.path)[:-1] if path != kept]


def _leftover(path: Path, run: Run, why: str) -> Leftover:
    files = path.rglob("*") if path.is_dir() else [path]
    return Leftover(str(path), run.id, why, sum(file.lstat().st_size for file in files if file.is_file()))
