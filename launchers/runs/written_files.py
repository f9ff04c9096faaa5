"""What ftbridge wrote into a folder, by the list that the folder's record holds of its files, and what it did not.

{..., "files": {"config.json": {"size": 700, "sha256": "..."}, "model.safetensors": {"size": 15231233024}}}
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import sha256

CARD = "ftbridge.json"  # the record: see weights/source.py
# Of files up to this size a change is found that keeps the size.
SMALL = 16 << 20


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that was written; `sha256` is that of a small one."""

    size: int
    sha256: str = ""


def files_in(folder: Path) -> dict[str, File]:
    """Return the files in a folder by their names, to be put on record."""
    return {path.name: _file(path) for path in sorted(folder.iterdir())}


def foreign(folder: Path, files: Any, record: str = CARD) -> Iterator[str]:
    """Yield what is in a folder and not as its `files` say, which its file `record` holds; raises InputError."""
    try:
        known: Mapping[str, File] = msgspec.convert(files, dict[str, File])
    except msgspec.ValidationError as error:
        raise InputError(f"`{folder / record}` is damaged ({error}); move `{folder}` away") from error
    for path in sorted(folder.iterdir()):
        if not is_plain(path) or path.name not in {record, *known}:
            yield shown(path)
        elif path.name != record and _file(path) != known[path.name]:
            yield f"{shown(path)}, which was changed since"


def is_plain(path: Path) -> bool:
    """Tell whether a path is a file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def shown(path: Path) -> str:
    """Return the name of a file or folder as a message has it."""
    return f"`{path.name}{'/' if path.is_dir() else ''}`"


def _file(path: Path) -> File:
    size = path.stat().st_size
    return File(size, sha256(path) if size <= SMALL else "")
