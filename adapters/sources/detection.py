"""Which source reads a file, told by its content."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import cast

from ftbridge.adapters.columns import did_you_mean
from ftbridge.adapters.sources.compression import GZIP, ZSTD, first_bytes
from ftbridge.core.errors import InputError, shell_words
from ftbridge.core.plugins import Source, load_plugin, plugin_names
from ftbridge.core.records import Reading, Table
from ftbridge.language import gettext as _
from ftbridge.language import joined

# What files begin with that hold other files, or are packed in a way that is not read.
ARCHIVES = {
    b"Rar!": _("a rar archive"),
    b"7z\xbc\xaf": _("a 7z archive"),
    b"BZh": _("packed with bzip2"),
    b"\xfd7zXZ": _("packed with xz"),
    GZIP: _("packed twice"),
    ZSTD: _("packed twice"),
}
TAR_MARK_AT = 257
WORKBOOKS = {".xlsx", ".xlsm", ".xltx", ".xltm", ".xls", ".xlsb", ".ods"}
NOT_IN_TEXT = {*range(32)} - {*b"\t\n\f\r"}
# What begins so has no rows, or none that are read; a web page may begin with blanks.
OTHERS = {
    b"%PDF": _("a PDF"),
    b"\x89PNG": _("an image"),
    b"\xff\xd8\xff": _("an image"),
    b"GIF8": _("an image"),
    b"SQLite format 3": _("an SQLite database"),
    b"<": _("a web page or XML"),
}
WORKBOOKS = {".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"}  # endings
# What the sources read, in the user's words; one that is not ours is listed by its name.
READ = {
    "workbook": _("workbooks (.xlsx, .xls, .xlsb, .ods)"),
    "csv": _("CSV and other delimited text"),
    "json": _("JSON"),
    "jsonl": _("JSON lines"),
    "parquet": _("Parquet"),
    "arrow": _("Arrow"),
    "folder": _("folders of these"),
}


def open_path(path: Path, reading: Reading) -> list[Table]:
    """Open a file or folder with the source that reads it; raises InputError where there is none."""
    try:
        source = source_of(path, delimited=bool(reading.delimiter))
        if not path.is_dir() and source is not load_plugin("sources", "csv"):
            reading.refuse_delimiter(path)
        return source.open_tables(path, reading)
    except InputError as error:
        if path.name != "standard input":
            raise
        raise InputError(str(error).replace(f"`{path}`", _("standard input"))) from error


def source_of(path: Path, *, delimited: bool = False) -> Source:
    """Return the source that reads `path`; raises InputError where none does, or the file cannot be read.

    What none knows is read as delimited text where it is said to be `delimited`.
    """
    refuse_special(path)
    head = first_bytes(path)
    if not head and not path.is_dir():
        raise InputError(_("`{path}` is empty").format(path=path))
    known = plugin_names("sources")
    try:
        for name in known:
            source = cast("Source", load_plugin("sources", name))
            if source.detect(path, head):
                return source
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    tar = _("a tar archive") if head[TAR_MARK_AT:].startswith(b"ustar") else ""
    if archive := tar or next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), ""):
        raise InputError(
            _("`{path}` is {archive}; unpack it, and give what is in it").format(path=path, archive=archive)
        )
    if delimited and not path.is_dir():
        return cast("Source", load_plugin("sources", "csv"))
    raise InputError(
        _("`{path}` is {kind}; supported are: {readable}").format(
            path=path, kind=_kind(path, head), readable=joined(", ", _readable(known))
        )
    )


def _kind(path: Path, head: bytes) -> str:
    """Return what a file that is not read is, by its first bytes, or what its name says wrongly."""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if known := next((name for magic, name in OTHERS.items() if begin.startswith(magic)), ""):
        return known
    if path.suffix.lower() in WORKBOOKS and not {*head} & NOT_IN_TEXT:
        return _("not a workbook: it holds plain text")
    return _("of an unsupported format")


def _readable(sources: Sequence[str]) -> list[str]:
    return [*(READ[name] for name in READ if name in sources), *(name for name in sources if name not in READ)]


def refuse_special(path: Path) -> None:
    """Raise InputError where `path` is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, ValueError) as error:
        if path.is_symlink():
            raise InputError(
                _("`{path}` is a link to `{target}`, which does not exist").format(path=path, target=path.readlink())
            ) from error
        raise InputError(
            _("there is no file `{path}`{suggested_path}").format(path=path, suggested_path=_suggested_path(path))
        ) from error
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            _("`{path}` is a pipe or a device; pipe it into standard input and give `-`").format(path=path)
        )


def _suggested_path(path: Path) -> str:
    """Return, for a message, what was meant by a path that is not there; "" where that cannot be told."""
    there: list[str] = []
    with suppress(OSError, ValueError), os.scandir(path.parent) as found:
        there = sorted(each.name for each in islice(found, 1000))
    if blank := next((name for name in there if name.startswith(f"{path.name} ")), ""):
        return _("; a name with blanks goes in quotes: {value}").format(value=shell_words([str(path.parent / blank)]))
    return did_you_mean(path.name, there)
