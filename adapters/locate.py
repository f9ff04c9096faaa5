"""From what the user names to opened tables: files, globs, folders, standard input, datasets of a hub."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import msgspec

from ftbridge.core import plugins
from ftbridge.core.errors import InputError
from ftbridge.core.files import unpacked
from ftbridge.core.plugins import Reading, Source, Table

HEAD = 4096


class Origin(msgspec.Struct, frozen=True):
    """One source that the user named: a file or folder, else a `url`, or a `preset` that makes its rows.

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
            return self.path.resolve().name.partition(".")[0] if not self.path.is_dir() else self.path.resolve().name
        return self.preset or self.url.partition("://")[2].partition("/")[2].replace("@", "-").replace(":", "-")


def origins(sources: Sequence[str]) -> list[Origin]:
    """Return the sources that the user named."""
    return [Origin(Path(source).name, Path(source)) for source in sources]


def open_origin(origin: Origin, reading: Reading, settings: Mapping[str, str]) -> list[Table]:
    """Open a source; raises InputError where that cannot be."""
    return open_path(origin.path, reading)


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
