"""Pictures as PNG, drawn by the matplotlib of the training environment."""

import os
import subprocess
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import opened_record, write_atomic
from ftbridge.language import gettext as _
from ftbridge.launchers.process.script import run_script

_SOFTWARE = "ftbridge"  # in every picture of ours, as the software that wrote it


class _Drawn(msgspec.Struct, frozen=True):
    """What draw.py prints: the picture, which msgspec reads from base64, and the characters that no font has."""

    png: bytes
    missing: str


def picture_file(png: str | os.PathLike[str]) -> Path:
    """Return the path that a picture goes to; raises UsageError where it is no .png, or something else stands there."""
    path = Path(png).expanduser()
    if path.suffix.lower() != ".png":
        raise UsageError(_("`--png {path}` must end with .png").format(path=path))
    if path.is_dir() or (path.exists() and not _is_ours(path)):
        raise UsageError(
            _("`{path}` exists already and is not a picture of ftbridge; name another file with `--png FILE`").format(
                path=path
            )
        )
    return path


def _is_ours(path: Path) -> bool:
    try:
        with opened_record(path) as file:
            return f"Software\0{_SOFTWARE}".encode() in file.read(1000)
    except OSError:
        return False


def picture(python: Path, kind: Literal["curves", "lengths"], what: dict[str, Any]) -> bytes:
    """Return a picture as PNG, drawn by the matplotlib of `python`; scripts/draw.py says what each kind is given.

    Says on stderr which characters no installed font has: three dots are in their place.
    """
    spec = {"kind": kind, "software": _SOFTWARE, **what}
    answer = msgspec.json.decode(run_script(python, "draw", spec, stderr=subprocess.PIPE), type=_Drawn)
    if answer.missing:
        message = _(
            "warning: no installed font has {characters}, which the picture leaves out; install one, as with "
            "`apt install fonts-noto-cjk`"
        )
        say(message.format(characters=answer.missing))
    return answer.png


def draw_picture(path: Path, python: Path, kind: Literal["curves", "lengths"], what: dict[str, Any]) -> None:
    """Write a picture to a file, as `picture` draws it."""
    write_atomic(path, picture(python, kind, what))
