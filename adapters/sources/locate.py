"""From what the user names to opened tables: files, globs, folders, standard input, datasets of a hub."""

import atexit
import glob
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import cast

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.columns import near
from ftbridge.core import plugins
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.files.atomic import GZIP, ZSTD, first_bytes, unpacked_name
from ftbridge.core.plugins import Reading, Source, Table

STANDARD_INPUT = {"-", "/dev/stdin"}
HUBS = ("hf://", "ms://")
PRESET = "preset:"
# What files begin with that hold other files, or are packed in a way that is not read.
ARCHIVES = {
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    GZIP: "packed twice",
    ZSTD: "packed twice",
}
TAR_AT = 257


class Origin(msgspec.Struct, frozen=True):
    """One source that the user named: a file or folder, else the address of a hub, or a preset that makes its rows.

    `name` is what messages and the registry call it.
    """

    name: str
    path: Path | None = None
    url: str = ""
    preset: str = ""

    @property
    def stem(self) -> str:
        """Return what a dataset of this source is called."""
        if self.path:
            whole = self.path.resolve()
            return whole.name if whole.is_dir() else unpacked_name(whole).stem
        return self.preset or re.sub("[:@]", "-", self.url.partition("://")[2].partition("/")[2])


def origins(sources: Sequence[str]) -> list[Origin]:
    """Return the sources that are named, in order: paths, globs such as `data/*.csv`, `-` for standard input, `hf://...`.

    Standard input is kept in a temporary file called `standard input` until the process ends. Raises UsageError or
    InputError where something is not there, or is given twice.
    """
    found: dict[Path | str, Origin] = {}
    for source in sources:
        if source.startswith(HUBS):
            every = [Origin(source, url=source)]
        elif source.startswith(PRESET):
            every = [Origin(source, preset=source.removeprefix(PRESET))]
        elif source.startswith(("http://", "https://")):
            raise UsageError(f"`{source}` is on the web: download it and give the file, or give `hf://owner/name`")
        else:
            every = [Origin(path.name, path) for path in _paths(source)]
        for origin in every:
            if origin.path:
                _refuse_special(origin.path)
            same = origin.path.resolve() if origin.path else source
            if same in found:
                given = source if source in STANDARD_INPUT else origin.path or source
                raise InputError(f"`{given}` is given twice; give each source once")
            found[same] = origin
    names = Counter(origin.name for origin in found.values())
    return [replace(each, name=str(each.path)) if names[each.name] > 1 else each for each in found.values()]


def open_origin(origin: Origin, reading: Reading, settings: Mapping[str, str]) -> list[Table]:
    """Open a source: a table for each sheet or split; `settings` are for a preset that makes its rows.

    Raises UsageError or InputError where it cannot be read.
    """
    if settings and not origin.preset:
        raise UsageError(f"`--set` is for presets that make their rows, and `{origin.name}` is none")
    if origin.path:
        return open_path(origin.path, reading)
    if origin.url:
        from ftbridge.adapters.sources.repository.hub import open_url

        return open_url(origin.url, reading)
    from ftbridge.adapters.sources.preset import open_generated

    return open_generated(origin.preset, settings, reading)


def open_path(path: Path, reading: Reading) -> list[Table]:
    """Open a file or folder with the source that reads it; raises InputError where there is none."""
    try:
        source = source_of(path, delimited=bool(reading.delimiter))
        if not path.is_dir() and source is not plugins.load("sources", "csv"):
            reading.refuse_delimiter(path)
        return source.open_tables(path, reading)
    except InputError as error:
        if path.name != "standard input":
            raise
        raise InputError(str(error).replace(f"`{path}`", "standard input")) from error


def source_of(path: Path, *, delimited: bool = False) -> Source:
    """Return the source that reads `path`; raises InputError where none does, or the file cannot be read.

    What none knows is read as delimited text where it is said to be `delimited`.
    """
    _refuse_special(path)
    head = first_bytes(path)
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
    if delimited and not path.is_dir():
        return cast("Source", plugins.load("sources", "csv"))
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
    found = [each for each in found if not each.name.startswith("~$")]  # Excel's mark that a workbook is open
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
        raise InputError(f"there is no file `{path}`{_instead(path)}") from error
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"`{path}` is a pipe or a device; send it to standard input and give `-`")


def _instead(path: Path) -> str:
    """Return, for a message, what was meant by a path that is not there; "" where that cannot be told."""
    there: list[str] = []
    with suppress(OSError, ValueError), os.scandir(path.parent) as found:
        there = sorted(each.name for each in islice(found, 1000))
    if blank := next((name for name in there if name.startswith(f"{path.name} ")), ""):
        return f"; a name with blanks goes in quotes: {shlex.quote(str(path.parent / blank))}"
    return near(path.name, there)


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
