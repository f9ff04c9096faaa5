"""What is known about well-known datasets: one YAML file each, told by its sheet or by its columns."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import closest, load_yaml, parse


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A well-known dataset and how it is read; the fields are system, instruction, input, output and history.

    `columns` maps a field to its column; `instruction`, `input` and `output` are Jinja templates over the row's
    columns that take a column's place. `labels` maps a value of the answer to its text, and every text to itself,
    since hubs give names where files give numbers. `sheet` tells the dataset by a sheet of its workbook, `detect` by
    exactly these columns. `hub` is where it can be had (`hf://owner/name:config`), `model` one to start with.
    `sample` is a record with the columns and the kinds of values of the source, written for ftbridge. A preset
    with `settings` (each with its meaning, for `--set`) makes its rows itself.
    """

    name: str
    title: str
    source: str
    licence: str
    sample: dict[str, Any]
    model: str
    columns: dict[str, str] = {}
    instruction: str = ""
    input: str = ""
    output: str = ""
    labels: dict[str, str] = {}
    system: str = ""
    sheet: str = ""
    detect: tuple[str, ...] = ()
    hub: str = ""
    settings: dict[str, str] = {}


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by name."""
    found = {}
    folder = files("ftbridge.dataset_info") / "presets"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        name, _, ending = file.name.rpartition(".")
        if ending == "yaml":
            values = load_yaml(file.read_text(encoding="utf-8"), f"the preset `{name}`")
            read = parse(Preset, {"name": name, **values}, f"the preset `{name}`")
            labels = {**read.labels, **{text: text for text in read.labels.values()}}
            found[name] = msgspec.structs.replace(read, labels=labels)
    return found


def preset(name: str) -> Preset:
    """Return the preset `name`; raises UsageError for an unknown one."""
    if name not in presets():
        raise UsageError(f"there is no preset `{name}`{closest(name, presets())}")
    return presets()[name]


def preset_of(sheets: Iterable[str], columns: Iterable[str] = ()) -> Preset | None:
    """Return the preset that comes in one of `sheets`, else the one that has exactly these columns."""
    sheets, columns = set(sheets), set(columns)
    for known in presets().values():
        if known.sheet and known.sheet in sheets:
            return known
    return next((known for known in presets().values() if known.detect and set(known.detect) == columns), None)
