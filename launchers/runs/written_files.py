"""What ftbridge wrote into a folder, by the list that the folder's record holds of its files, and what it did not.

{..., "files": {"config.json": {"size": 700, "sha256": "..."}, "model.safetensors": {"size": 15231233024}}}
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import sha256
from ftbridge.language import gettext as _

CARD = "ftbridge.json"  # the record: see weights/source.py
# Of files up to this size a change is found that keeps the size.
SMALL_FILE_BYTES = 16 << 20


class WrittenFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that was written; `sha256` is that of a small one."""

    size: int
    sha256: str = ""


def files_in(folder: Path) -> dict[str, WrittenFile]:
    """Return size and sha256 of the files in a folder by their names, to be put on record."""
    return {path.name: _file_record(path) for path in sorted(folder.iterdir())}


def unknown_files(folder: Path, files: Any, record: str = CARD) -> Iterator[str]:
    """Yield the names, as a message has them, of what in a folder is not as `files` of its file `record` say.

    Raises InputError where `files` is not what `files_in` gives.
    """
    try:
        known: Mapping[str, WrittenFile] = msgspec.convert(files, dict[str, WrittenFile])
    except msgspec.ValidationError as error:
        raise InputError(
            _("`{path}` is damaged ({error}); move `{folder}` away").format(
                path=folder / record, error=error, folder=folder
            )
        ) from error
    for path in sorted(folder.iterdir()):
        if not is_plain_file(path) or path.name not in {record, *known}:
            yield quoted_name(path)
        elif path.name != record and _file_record(path) != known[path.name]:
            yield _("{quoted_name}, which was changed since").format(quoted_name=quoted_name(path))


def is_plain_file(path: Path) -> bool:
    """Tell whether a path is a file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def quoted_name(path: Path) -> str:
    """Return the name of a file or folder as a message has it."""
    return f"`{path.name}{'/' if path.is_dir() else ''}`"


def _file_record(path: Path) -> WrittenFile:
    size = path.stat().st_size
    return WrittenFile(size, sha256(path) if size <= SMALL_FILE_BYTES else "")
