"""The user's own data folder, and whether a file belongs to the user.

A file that decides what is run counts where its owner could have had that run anyway.
"""

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from ftbridge.core.errors import InputError, shell_words
from ftbridge.language import gettext as _

SAFE_FOLDERS = "FTBRIDGE_SAFE_FOLDERS"


def data_folder() -> Path:
    """Return the user's own folder of ftbridge, for the training environments and the key.

    Where the home folder is none that can be written, it lies in `spare_folder`.
    """
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "ftbridge"
    folder = Path(os.path.expanduser("~"), ".local", "share", "ftbridge")  # noqa: PTH111 - without a home it raises nothing
    return folder if folder.is_absolute() and (folder.exists() or is_writable(folder)) else spare_folder() / "data"


def spare_folder() -> Path:
    """Return a folder of this user alone for what has no place in the home folder, made where it is not there.

    It lies in TMPDIR, else in /var/tmp, and is the same the next time. One that another user has put there is not
    taken: then it is a new one, which goes with this process.
    """
    folder = Path(os.environ.get("TMPDIR") or "/var/tmp", f"ftbridge-{os.geteuid()}")  # noqa: S108 - it is looked at
    with suppress(OSError):
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        status = folder.lstat()
        is_private = not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and is_private:
            return folder
    return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ftbridge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_writable(path: Path) -> bool:
    """Tell whether files can be made below `path`, which need not be there yet."""
    try:
        existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError:
        return False
    return True


def is_own(status: os.stat_result) -> bool:
    """Tell whether a file belongs to the user, to root, or to the one who became root by sudo."""
    user = os.geteuid()
    return status.st_uid in {0, user} or (not user and os.environ.get("SUDO_UID") == str(status.st_uid))


def foreign_owner(file: Path) -> str:
    """Return whose `file` is, or the link in its place, where that is somebody else; "" where it is the user's own.

    What lies in a folder of FTBRIDGE_SAFE_FOLDERS counts as the user's.
    """
    other = next((status.st_uid for status in (file.lstat(), file.stat()) if not is_own(status)), None)
    if other is None or any(file.is_relative_to(folder) for folder in _safe_folders()):
        return ""
    return _user_name(other)


def _safe_folders() -> list[Path]:
    """Return the folders that the user calls safe; a relative one would be another in each place."""
    found = []
    for name in os.environ.get(SAFE_FOLDERS, "").split(os.pathsep):
        with suppress(OSError, RuntimeError):  # a link that leads to itself, a user who has no home
            folder = Path(name).expanduser()
            found += [folder.resolve()] if folder.is_absolute() else []
    return found


def refuse_unreadable(folder: Path) -> None:
    """Raise InputError, naming the owner, where a folder or a file in it may not be read by this user.

    A folder that is not there is not refused.
    """
    try:
        for place in reversed([folder, *folder.absolute().parents]):
            place.stat()
        files = [folder, *folder.iterdir()]
    except PermissionError as error:
        # A file below a folder that may not be entered cannot be looked at: the folder is what is closed.
        blocked = Path(error.filename)
        raise _unreadable(blocked if os.access(blocked.parent, os.X_OK) else blocked.parent) from error
    except OSError:
        return
    for file in files:
        if not os.access(file, os.R_OK | (os.X_OK if file.is_dir() else 0)) and file.exists():
            raise _unreadable(file)


def _unreadable(place: Path) -> InputError:
    status = place.stat()
    return InputError(
        _(
            "cannot read `{place}`: it belongs to `{owner}`, with the permissions `{mode}`; ask `{owner}` to run "
            "`{command}`, or use a copy of your own"
        ).format(
            place=place,
            owner=_user_name(status.st_uid),
            mode=stat.filemode(status.st_mode),
            command=shell_words(["chmod", "-R", "a+rX", str(place)]),
        )
    )


def _user_name(number: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return _("user {number}").format(number=number)
