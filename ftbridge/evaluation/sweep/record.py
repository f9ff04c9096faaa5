"""A sweep's record, sweep.json: its points, with the run and the evaluation of each."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text, write_json
from ftbridge.core.parsing.json_yaml import closest, load_json
from ftbridge.core.project import Project
from ftbridge.language import gettext as _
from ftbridge.language import joined

FILE = "sweep.json"
FOLDER = "sweeps"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One training of a sweep: the `values` of the options that it has for itself, and its `seed` where it has one.

    `key` tells its training from others by content, `run` is the id of its run in the sweep's folder ("" where none was
    started), `evaluation` its evaluation.json, relative to the sweep's folder, and `judged` by what that was
    made. `error` says why it failed.
    """

    values: dict[str, object]
    seed: int | None = None
    key: str = ""
    run: str = ""
    evaluation: str = ""
    judged: str = ""
    error: str = ""

    @property
    def title(self) -> str:
        """Return the point in words, such as `lora_rank=8, seed 2`."""
        return joined(
            ", ",
            filter(None, (title_of(self.values), "" if self.seed is None else _("seed {seed}").format(seed=self.seed))),
        )


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What sweep.json holds: the points in the order in which they are trained.

    `varied` are the options with more than one value, `constant` the others that were given, by their names, `metric`
    is the figure that the best is told by ("" for the task's own), `earlier` are points that were trained and are not
    asked for now, `bases` maps each base model to its fingerprint, and `folder` is where the sweep lies.
    """

    name: str
    folder: str = ""
    varied: tuple[str, ...]
    constant: dict[str, Any] = {}
    metric: str = ""
    points: tuple[Point, ...]
    earlier: tuple[Point, ...] = ()
    bases: dict[str, str] = {}
    created: datetime
    version: str

    @property
    def path(self) -> Path:
        """Return the sweep's folder."""
        return Path(self.folder)

    def save(self) -> "Sweep":
        """Write sweep.json, and return the sweep."""
        write_json(self.path / FILE, msgspec.structs.replace(self, folder=""))
        return self


def title_of(values: Mapping[str, object]) -> str:
    """Return the values of options in words, such as `sample=100, lora_rank=8`."""
    return ", ".join(f"{name}={shown_value(value)}" for name, value in values.items())


def shown_value(value: object) -> str:
    """Return a value of an option as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown_value, value)) if isinstance(value, list | tuple) else str(value)


def load_sweep(path: Path) -> Sweep:
    """Return the sweep of a folder or of a sweep.json; raises InputError where there is none, or it is damaged."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            _("there is no `{file}` in `{path}`; `ftbridge sweep` writes one").format(file=FILE, path=path)
        )
    found = load_json(
        read_text(file, _("sweep")),
        Sweep,
        _("`{file}` is damaged; delete it, and the points are trained again").format(file=file),
    )
    return msgspec.structs.replace(found, folder=str(file.parent.resolve()))


def find_sweep(project: Project, name: str | os.PathLike[str] | None = None) -> Sweep:
    """Return the sweep of this name, folder or file, by default the one that was worked on last.

    Raises InputError, with the closest name, where there is none.
    """
    if name is not None:
        path = Path(name).expanduser()
        if (path / FILE).is_file() or path.name == FILE:
            return load_sweep(path)
    known = sorted((project.folder / FOLDER).glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime)
    if not known:
        raise InputError(
            _("there is no sweep in `{path}` yet; `ftbridge sweep` makes one").format(path=project.folder / FOLDER)
        )
    if name is None:
        return load_sweep(known[-1])
    names = [file.parent.name for file in known]
    if os.fspath(name) not in names:
        raise InputError(
            _("there is no sweep `{name}`{hint}").format(name=os.fspath(name), hint=closest(os.fspath(name), names))
        )
    return load_sweep(project.folder / FOLDER / name)
