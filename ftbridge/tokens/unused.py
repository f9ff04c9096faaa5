"""Ready tokens that nothing uses any more, and what was begun of others and never finished."""

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from ftbridge.core.errors import SetupError
from ftbridge.core.files.atomic import is_locked, locked
from ftbridge.language import gettext as _
from ftbridge.tokens.ready import PART

_KEY = "[0-9a-f]{24}"
_OURS = re.compile(rf"({_KEY})({re.escape(PART)})?")
_BOTH = re.compile(rf"({_KEY})-({_KEY})")  # links to the tokens of a training set and of its validation set


def unused_tokens(folder: Path, used: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Yield the folders in a `folder` of ready tokens that may go, with the reason; `used` are the keys that stay.

    What another process is making stays, and all that ftbridge has not called so.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            continue
        if why := _why_unused(path, used):
            yield path, why


def _why_unused(path: Path, used: Collection[str]) -> str:
    if both := _BOTH.fullmatch(path.name):
        return "" if all(path.with_name(key).is_dir() for key in both.groups()) else _("links to tokens that are gone")
    found = _OURS.fullmatch(path.name)
    if not found:
        return ""
    if found[2]:
        lock = path.with_name(f".{found[1]}.lock")
        return _("unfinished tokens") if is_locked(lock) is False or not lock.exists() else ""
    return "" if found[1] in used else _("ready tokens that no run uses")


def remove_tokens(path: Path) -> bool:
    """Remove a folder of ready tokens with the links to it, unless somebody is making them; tell whether it went.

    Raises OSError or SetupError where that fails.
    """
    key = path.name.removesuffix(PART)
    try:
        with locked(path.with_name(key), patience=0):
            if not path.name.endswith(PART):
                for link in path.parent.iterdir():
                    if (both := _BOTH.fullmatch(link.name)) and key in both.groups():
                        shutil.rmtree(link)
            shutil.rmtree(path)
    except SetupError as error:
        if isinstance(error.__cause__, TimeoutError):  # the lock is another's
            return False
        raise
    return True
