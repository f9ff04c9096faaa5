"""One conversion before its first row is read: what was asked for, what was found, and where it will go."""

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.adapters.columns import choose, letter
from ftbridge.adapters.locate import open_path
from ftbridge.adapters.mapping import Mapping
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import Reading, Table
from ftbridge.dataset_info.presets import preset_of

PARTS = ("train", "test")
OnError = Literal["stop", "skip"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the content of a dataset besides its source; kept in its entry."""

    sheet: str | None = None
    map: dict[str, str] = {}
    system: str | None = None
    split: str | None = None
    seed: int | None = None
    shuffle: bool = True
    array: bool = False
    on_error: OnError = "stop"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion, with all questions answered before the first row is read."""

    name: str
    source: Path
    dataset_dir: Path
    options: Options
    replace: bool
    table: Table
    mapping: Mapping
    preset: str
    digest: str

    @property
    def sources(self) -> dict[str, str]:
        """Return the sha256 of the source by its name."""
        return {self.source.resolve().name: self.digest}

    @property
    def names(self) -> list[str]:
        """Return the names of the parts."""
        return [f"{self.name}-{part}" for part in self.parts]

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that are made."""
        return PARTS if self.options.split else PARTS[:1]

    @property
    def rejected_file(self) -> Path:
        """Return where rejected rows go."""
        return self.dataset_dir / f"{self.name}.rejected.jsonl"


def dataset_name(path: Path, name: str | None) -> str:
    """Return `name`, or one made of the file's stem; raises UsageError where `name` will not do."""
    if name is None:
        stem = unicodedata.normalize("NFC", path.resolve().stem)
        return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "dataset"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"`{name}` is no dataset name; use letters, digits, `_`, `.` and `-`, and no spaces or commas")
    return name


def prepare(path: Path, name: str, folder: Path, options: Options, *, replace: bool) -> Job:
    """Open the source and settle all that `options` leave open.

    Raises InputError for a source that cannot be used, UsageError for options that do not fit it.
    """
    reading = Reading(sheets=(options.sheet,) if options.sheet else ())
    table = open_path(path, reading)[0]
    preset = preset_of([table.sheet])
    if preset and not options.map and not set(table.columns).issuperset(preset.columns.values()):
        preset = None
    columns = choose(table, options.map or (preset.columns if preset else None))
    system = options.system if options.system is not None else preset.system if preset else ""
    letters = {field: letter(table.columns.index(column) + 1) for field, column in columns.items()}
    return Job(
        name=name,
        source=path,
        dataset_dir=folder,
        options=options,
        replace=replace,
        table=table,
        mapping=Mapping(columns, frozenset(table.columns), letters if table.lettered else {}, system),
        preset=preset.name if preset else "",
        digest=digest(path),
    )


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of all files in a folder with their names."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for each in sorted(each for each in path.iterdir() if each.is_file()):
            whole.update(f"{each.name}\0{digest(each)}\n".encode())
        return whole.hexdigest()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}") from error
