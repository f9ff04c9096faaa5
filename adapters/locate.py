"""From what the user names to opened tables: files, globs, folders, standard input, datasets of a hub."""

import atexit
import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import cast

from ftbridge.core import plugins
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.files import unpacked
from ftbridge.core.plugins import Reading, Source, Table

HEAD = 4096
STANDARD_INPUT = {"-", "/dev/stdin"}
HUBS = ("hf://", "ms://")
# What files begin with that hold other files, or are packed in a way that is not read.
ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
}
TAR_AT = 257


def open_all(sources: Sequence[str], reading: Reading) -> list[Table]:
    """Open all that is named, in order: paths, globs such as `data/*.csv`, `-` for standard input, `hf://`, `ms://`.

    Raises UsageError or InputError where something is not there, cannot be read, or is given twice.
    """
    tables: list[Table] = []
    for source in expand(sources):
        if isinstance(source, Path):
            tables += open_path(source, reading)
        else:
            from ftbridge.adapters.hub import open_url

            tables += open_url(source, reading)
    return tables


def expand(sources: Sequence[str]) -> list[Path | str]:
    """Return the files and folders that are named, in order, and the addresses of hubs as they are.

    Standard input is kept in a temporary file called `standard input` until the process ends. Raises
    UsageError or InputError as `open_all` does.
    """
    found: dict[Path | str, Path | str] = {}
    for source in sources:
        for each in [source] if source.startswith(HUBS) else _paths(source):
            if isinstance(each, Path):
                _refuse_special(each)
            same = each.resolve() if isinstance(each, Path) else each
            if same in found:
                raise InputError(f"`{each}` is given twice; give each source once")
            found[same] = each
    return list(found.values())


def open_path(path: Path, reading: Reading) -> list[Table]:
    """Open a file or folder with the source that reads it; raises InputError where there is none."""
    try:
        return source_of(path).open_tables(path, reading)
    except InputError as error:
        if path.name != "standard input":
            raise
        raise InputError(str(error).replace(f"`{path}`", "standard input")) from error


def source_of(path: Path) -> Source:
    """Return the source that reads `path`; raises InputError where none does, or the file cannot be read."""
    _refuse_special(path)
    with ExitStack() as stack:
        head = b"" if path.is_dir() else stack.enter_context(unpacked(path)).read(HEAD)
    if not head and not path.is_dir():
        raise InputError(f"`{path}` is empty")
    known = plugins.names("sources")
    try:
        for name in known:
            source = cast("Source", plugins.load("sources", name))
            if source.detect(path, head):
                return source
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
    tar = "a tar archive" if head[TAR_AT:].startswith(b"ustar") else ""
    if archive := tar or next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), ""):
        raise InputError(f"`{path}` is {archive}; unpack it, and give what is in it")
    kind = "folder" if path.is_dir() else "file"
    raise InputError(f"no source reads the {kind} `{path}`; there are: {', '.join(known)}")


def _paths(source: str) -> list[Path]:
    """Return what a path or a glob names; what is there under that very name is no glob."""
    if source in STANDARD_INPUT:
        return [_standard_input()]
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - leaves `~nobody` as it is
    if os.path.lexists(path) or not glob.has_magic(source):
        return [path]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - takes absolute patterns
    if not found:
        raise InputError(f"no file fits `{source}`")
    return [each for each in found if not each.is_dir()] or found


def _refuse_special(path: Path) -> None:
    """Raise InputError where `path` is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, ValueError) as error:
        if path.is_symlink():
            raise InputError(f"`{path}` is a link to `{path.readlink()}`, which is not there") from error
        raise InputError(f"there is no file `{path}`") from error
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"`{path}` is a pipe or a device; send it to standard input and give `-`")


@cache
def _standard_input() -> Path:
    """Return a file that holds what came through standard input; it can be read only once."""
    if not hasattr(sys.stdin, "buffer") or sys.stdin.isatty():
        raise UsageError("`-` is standard input, and nothing is sent to it; as in: cat faq.jsonl | ftbridge convert -")
    folder = tempfile.mkdtemp(prefix="ftbridge-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "standard input"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    except OSError as error:
        raise SetupError(f"cannot keep standard input in `{path}`: {error.strerror or error}") from error
    return path
