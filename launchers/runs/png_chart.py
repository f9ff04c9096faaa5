"""Pictures as PNG, drawn by the matplotlib of the training environment."""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any, Literal

from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import opened_record, write_atomic
from ftbridge.launchers.process.script import run_script

_SOFTWARE = "ftbridge"  # stands in every picture of ours, as the software that wrote it


def picture_file(png: str | os.PathLike[str]) -> Path:
    """Return the path that a picture goes to; raises UsageError where it is no .png, or something else stands there."""
    path = Path(png).expanduser()
    if path.suffix.lower() != ".png":
        raise UsageError(f"`--png {path}` must end with .png")
    if path.is_dir() or (path.exists() and not _is_ours(path)):
        raise UsageError(f"`{path}` is there already and no picture of ftbridge's; name another file with `--png FILE`")
    return path


def _is_ours(path: Path) -> bool:
    try:
        with opened_record(path) as file:
            return f"Software\0{_SOFTWARE}".encode() in file.read(1000)
    except OSError:
        return False


def draw_picture(path: Path, python: Path, kind: Literal["curves", "lengths"], what: dict[str, Any]) -> None:
    """Write a picture as PNG with the matplotlib of `python`; scripts/draw.py says what each kind is given."""
    spec = {"kind": kind, "software": _SOFTWARE, **what}
    write_atomic(path, base64.b64decode(run_script(python, "draw", spec, stderr=subprocess.PIPE)))
