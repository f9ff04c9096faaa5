"""`ftbridge presets`: the well-known datasets, and how each is read."""

import json
import re
from typing import TYPE_CHECKING

import click

from ftbridge.cli.options import Command, complete_preset, json_option
from ftbridge.cli.output import Rows, print_table
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from ftbridge.dataset_info.presets import Preset


@click.command("presets", cls=Command, examples=("ftbridge presets", "ftbridge presets medqa"))
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_preset)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the well-known datasets, or show all that is known about the one called NAME."""
    from ftbridge.core.console import print_json, result
    from ftbridge.dataset_info.presets import load_preset, presets

    if as_json:
        shown = load_preset(name) if name else list(presets().values())
        print_json(shown)
    elif name:
        result(_preset_details(load_preset(name)))
    else:
        print_table(_presets_table(list(presets().values())), optional=[_("licence")])


def _presets_table(known: "list[Preset]") -> Rows:
    rows = [(_("name"), _("title"), _("model"), _("licence"))]
    rows += [(each.name, each.title, each.model, re.split("[;；]", _(each.licence))[0]) for each in known]
    return rows


def _preset_details(known: "Preset") -> str:
    from textwrap import indent

    from ftbridge.core.console import padded

    signs = []
    if known.sheet:
        signs.append(_("the sheet {sheet}").format(sheet=known.sheet))
    if known.detect:
        signs.append(_("the columns {detect}").format(detect=joined(", ", known.detect)))
    labels = [f"{value} = {text}" for value, text in known.labels.items() if value != text]
    facts = {
        _("source"): known.source,
        _("licence"): _(known.licence),
        _("model"): known.model,
        _("hub"): known.hub,
        _("detected by"): joined(_(" or "), signs),
        **{field: _origin_of_field(known, field) for field in ("system", "instruction", "input", "output", "history")},
        _("labels"): "\n".join(labels),
        _("settings"): "\n".join(f"{key}: {meaning}" for key, meaning in known.settings.items()),
        _("sample"): json.dumps(known.sample, ensure_ascii=False, indent=2),
        _("use"): "\n".join(_convert_commands(known)),
    }
    lines = [f"{padded(field, 12)} " + indent(fact, " " * 13)[13:] for field, fact in facts.items() if fact]
    return "\n".join([f"{known.name}: {known.title}", *lines])


def _origin_of_field(known: "Preset", field: str) -> str:
    """Return the text or the template of a field, else the column it is read from."""
    column = known.columns.get(field)
    return getattr(known, field, "") or (_("column {column}").format(column=column) if column else "")


def _convert_commands(known: "Preset") -> list[str]:
    """Return the commands that read this dataset."""
    if known.settings:
        return [f"ftbridge convert preset:{known.name} --set name=NAME --set author=AUTHOR"]
    fetched = [f"ftbridge convert preset:{known.name}"] if known.hub else []
    return [*fetched, f"ftbridge convert FILE --preset {known.name}"]
