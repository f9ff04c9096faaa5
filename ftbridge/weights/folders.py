"""Folders that are there whole, or not at all."""

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files import flock
from ftbridge.weights import sources


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of `target` when the block ends well, and vanishes when not.

    What stands at `target` is replaced where ftbridge wrote it, or where it is empty; else InputError. What a
    killed process has left behind for `target` is removed.
    """
    if target.exists() and not (target / sources.CARD).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"`{target}` is there and was not written by ftbridge; choose another with `--out`")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean(target)
        with (
            tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".part") as place,
            Path(place, "lock").open("wb") as lock,
        ):
            flock(lock)
            folder = Path(place) / "new"
            folder.mkdir()
            yield folder
            if target.exists():
                target.rename(Path(place) / "old")
            folder.rename(target)
    except OSError as error:
        raise SetupError(f"cannot write `{target}`: {error.strerror or error}") from error
    except shutil.Error as error:
        raise SetupError(f"cannot write `{target}`: {error}") from error


def _clean(target: Path) -> None:
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(OSError), (left / "lock").open("rb") as lock:
            if flock(lock):
                shutil.rmtree(left)
