"""The user's own data folder, and whether a file belongs to the user.

A file that decides what is run counts where its owner could have had that run anyway.
"""

import os
from contextlib import suppress
from pathlib import Path

SAFE_FOLDERS = "FTBRIDGE_SAFE_FOLDERS"


def data_folder() -> Path:
    """Return the user's own folder of ftbridge, for the training environments and the key.

    Raises RuntimeError where the user has no home.
    """
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "ftbridge"


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
    try:
        import pwd

        return pwd.getpwuid(other).pw_name
    except (ImportError, KeyError):
        return f"user {other}"


def _safe_folders() -> list[Path]:
    """Return the folders that the user calls safe; a relative one would be another in each place."""
    found = []
    for name in os.environ.get(SAFE_FOLDERS, "").split(os.pathsep):
        with suppress(OSError, RuntimeError):  # a link that leads to itself, a user who has no home
            folder = Path(name).expanduser()
            found += [folder.resolve()] if folder.is_absolute() else []
    return found
