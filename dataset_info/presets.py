"""What is known about well-known datasets: one YAML file each, detected by its sheet or by its columns.

Packages of third parties bring more, by the entry points `ftbridge.presets` (docs/plugins.md).
"""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.parsing.json_yaml import closest, load_yaml, parse
from ftbridge.core.plugins import data_files
from ftbridge.language import gettext as _


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A well-known dataset and how it is read; the fields are system, instruction, input, output and history.

    `columns` maps a field to its column; `instruction`, `input` and `output` are Jinja templates over the row's
    columns that take a column's place. `labels` maps a value of the answer to its text, and every text to itself,
    since hubs give names where files give numbers. `sheet` tells the dataset by a sheet of its workbook, `detect` by
    exactly these columns. `hub` is where it can be had (`hf://owner/name:config`), `model` one to start with.
    `sample` is a record with the columns and the kinds of values of the source, written for ftbridge. A preset
    with `settings` (each with its meaning, for `--set`) makes its rows itself. `package` is the third party's that
    brings it, "" for ftbridge's own.
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
    package: str = ""


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by name; raises SetupError for two of one name, InputError for a file that is none."""
    by_name = {}
    folder = files("ftbridge.dataset_info") / "presets"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        name, _unused, ending = file.name.rpartition(".")
        if ending == "yaml":
            by_name[name] = _parse_preset(
                name, file.read_text(encoding="utf-8"), _("the preset `{name}`").format(name=name)
            )
    for more in data_files("presets"):
        preset = _parse_preset(more.name, more.text, more.title)
        if more.name in by_name:
            other = by_name[more.name].package or "ftbridge"
            raise SetupError(
                _("{title} and a preset of {other} have the same name; uninstall one of the packages").format(
                    title=more.title, other=other
                )
            )
        if preset.settings:
            raise InputError(
                _("{title} has `settings`, which only presets of ftbridge have; take them out").format(title=more.title)
            )
        by_name[more.name] = msgspec.structs.replace(preset, package=more.package)
    return by_name


def _parse_preset(name: str, text: str, what: str) -> Preset:
    """Return the preset in the YAML `text`; raises InputError, naming `what` it is, where it is none."""
    preset = parse(Preset, {**load_yaml(text, what), "name": name, "package": ""}, what)
    labels = {**preset.labels, **{text: text for text in preset.labels.values()}}
    return msgspec.structs.replace(preset, title=_(preset.title), labels=labels)


def load_preset(name: str) -> Preset:
    """Return the preset `name`; raises UsageError for an unknown one."""
    if name not in presets():
        raise UsageError(_("there is no preset `{name}`{hint}").format(name=name, hint=closest(name, presets())))
    return presets()[name]


def detect_preset(sheets: Iterable[str], columns: Iterable[str] = ()) -> Preset | None:
    """Return the preset that comes in one of `sheets`, else the one that has exactly these columns, else None."""
    sheets, columns = set(sheets), set(columns)
    for preset in presets().values():
        if preset.sheet and preset.sheet in sheets:
            return preset
    return next((preset for preset in presets().values() if preset.detect and set(preset.detect) == columns), None)
