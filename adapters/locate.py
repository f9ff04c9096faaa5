"""From what the user names to opened tables: files, globs, folders, standard input, datasets of a hub."""

from contextlib import ExitStack
from pathlib import Path
from typing import cast

from ftbridge.core import plugins
from ftbridge.core.errors import InputError
from ftbridge.core.files import unpacked
from ftbridge.core.plugins import Reading, Source, Table

HEAD = 4096


def open_path(path: Path, reading: Reading) -> list[Table]:
    """Open a file or folder with the source that reads it; raises InputError where there is none."""
    return source_of(path).open_tables(path, reading)


def source_of(path: Path) -> Source:
    """Return the source that reads `path`; raises InputError where none does, or the file cannot be read."""
    if not path.exists():
        raise InputError(f"there is no file `{path}`")
    with ExitStack() as stack:
        head = b"" if path.is_dir() else stack.enter_context(unpacked(path)).read(HEAD)
    known = plugins.names("sources")
    for name in known:
        source = cast("Source", plugins.load("sources", name))
        if source.detect(path, head):
            return source
    kind = "folder" if path.is_dir() else "file"
    raise InputError(f"no source reads the {kind} `{path}`; there are: {', '.join(known)}")
