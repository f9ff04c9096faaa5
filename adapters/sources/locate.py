"""From what the user names to opened tables: files, globs, folders, standard input, datasets of a hub."""

import atexit
import glob
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.sources.compression import unpacked_name
from ftbridge.adapters.sources.detection import open_path, refuse_special
from ftbridge.adapters.sources.split_names import PART_OF
from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.records import Reading, Table
from ftbridge.language import gettext as _

STANDARD_INPUT = {"-", "/dev/stdin"}
HUBS = ("hf://", "ms://")
PRESET = "preset:"
LOCK = "~$"  # how the name of Excel's lock file begins


class Origin(msgspec.Struct, frozen=True):
    """One source that the user named: a file or folder, else the address of a hub, or a preset that makes its rows.

    `name` is what messages and the registry call it.
    """

    name: str
    path: Path | None = None
    url: str = ""
    preset: str = ""

    @property
    def address(self) -> str:
        """Return what names this source, wherever one stands."""
        return str(self.path.absolute()) if self.path else self.url or f"{PRESET}{self.preset}"

    @property
    def stem(self) -> str:
        """Return what a dataset of this source is called; the folder's name for a file that is only called `train`."""
        if self.path:
            whole = self.path.resolve()
            stem = whole.name if whole.is_dir() else unpacked_name(whole).stem
            return whole.parent.name or stem if stem.lower() in PART_OF and not whole.is_dir() else stem
        return self.preset or re.sub("[:@]", "-", self.url.partition("://")[2].partition("/")[2])


def origins(sources: Sequence[str]) -> list[Origin]:
    """Return the sources that are named, in order: paths, globs such as `data/*.csv`, `-` for standard input, `hf://...`.

    A lock file of Excel among several is skipped with a note. Standard input is kept in a temporary file called
    `standard input` until the process ends. Raises UsageError or InputError where something is not there, or is given
    twice.
    """
    found: dict[Path | str, Origin] = {}
    for source in _without_lock_files(sources):
        for origin in _origins_of(source):
            identity = _identity(origin)
            if identity in found:
                given = source if source in STANDARD_INPUT else origin.path or source
                raise InputError(_("`{given}` is given twice; give each source once").format(given=given))
            found[identity] = origin
    names = Counter(origin.name for origin in found.values())
    return [replace(each, name=str(each.path)) if names[each.name] > 1 else each for each in found.values()]


def _without_lock_files(sources: Sequence[str]) -> Sequence[str]:
    """Return the sources without Excel's lock files, which a shell's `*.xlsx` brings; all where there are no others."""
    others = [source for source in sources if not Path(source).name.startswith(LOCK)]
    if not others or len(others) == len(sources):
        return sources
    for source in sources:
        if source not in others:
            say(_("note: skipped `{file}`: Excel's lock file of an open workbook").format(file=source))
    return others


def _identity(origin: Origin) -> Path | str:
    """Return what tells that two origins are one; raises InputError where its file is not there, or is no file."""
    if origin.path is None:
        return origin.name
    refuse_special(origin.path)
    return origin.path.resolve()


def _origins_of(source: str) -> list[Origin]:
    """Return what one word names."""
    if source.startswith(HUBS):
        return [Origin(source, url=source)]
    if source.startswith(PRESET):
        return [Origin(source, preset=source.removeprefix(PRESET))]
    if source.startswith(("http://", "https://")):
        raise UsageError(
            _("`{source}` is a web address: download the file and give its path, or give `hf://owner/name`").format(
                source=source
            )
        )
    return [Origin(path.name, path) for path in _paths_of(source)]


def open_origin(origin: Origin, reading: Reading, settings: Mapping[str, str]) -> list[Table]:
    """Open a source: a table for each sheet or split; `settings` are for a preset that makes its rows.

    Raises UsageError or InputError where it cannot be read.
    """
    if settings and not origin.preset:
        raise UsageError(
            _("`--set` is for presets that generate their rows; `{name}` is not one of them").format(name=origin.name)
        )
    if origin.path:
        return open_path(origin.path, reading)
    if origin.url:
        from ftbridge.adapters.sources.repository.hub import open_url

        return open_url(origin.url, reading)
    from ftbridge.adapters.sources.preset import open_preset

    return open_preset(origin.preset, settings, reading)


def _paths_of(source: str) -> list[Path]:
    """Return what a path or a glob names; what is there under that very name is no glob."""
    if source in STANDARD_INPUT:
        return [_standard_input()]
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - leaves `~nobody` as it is
    if os.path.lexists(path) or not glob.has_magic(source):
        return [path]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - takes absolute patterns
    found = [each for each in found if not each.name.startswith(LOCK)]
    if not found:
        raise InputError(_("no file matches `{source}`").format(source=source))
    return [each for each in found if not each.is_dir()] or found


@cache
def _standard_input() -> Path:
    """Return a file that holds what came through standard input; it can be read only once."""
    if not hasattr(sys.stdin, "buffer") or sys.stdin.isatty():
        raise UsageError(
            _(
                "`-` reads standard input, but nothing is piped into it; pipe a file, as in: cat faq.jsonl | "
                "ftbridge convert -"
            )
        )
    folder = tempfile.mkdtemp(prefix="ftbridge-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "standard input"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    except OSError as error:
        raise SetupError(
            _("cannot keep standard input in `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    return path
