"""What is known about well-known datasets: one YAML file each, found by the sheet it comes in."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.strict import closest, load_yaml, parse


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A well-known dataset: `columns` maps a field to the column's header, `model` is one to start with."""

    name: str
    title: str
    source: str
    licence: str
    sheet: str
    columns: dict[str, str]
    system: str
    sample: dict[str, str]
    model: str
    instruction: str = ""
    input: str = ""
    output: str = ""
    labels: dict[str, str] = {}
    detect: tuple[str, ...] = ()


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by name."""
    found = {}
    folder = files("ftbridge.dataset_info") / "presets"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        name, _, ending = file.name.rpartition(".")
        if ending == "yaml":
            values = load_yaml(file.read_text(encoding="utf-8"), f"the preset `{name}`")
            found[name] = parse(Preset, {"name": name, **values}, f"the preset `{name}`")
    return found


def preset(name: str) -> Preset:
    """Return the preset `name`; raises UsageError for an unknown one."""
    if name not in presets():
        raise UsageError(f"there is no preset `{name}`{closest(name, presets())}")
    return presets()[name]


def preset_of(sheets: Iterable[str]) -> Preset | None:
    """Return the preset that comes in one of `sheets`."""
    sheets = set(sheets)
    return next((preset for preset in presets().values() if preset.sheet in sheets), None)
