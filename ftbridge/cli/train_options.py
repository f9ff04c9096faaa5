"""The options that decide a training, one for each field of TrainSpec, for the commands that take them."""

from collections.abc import Callable
from typing import Any

import click
import msgspec

from ftbridge.cli.options import (
    Choice,
    Decorator,
    PluginName,
    complete_dataset,
    complete_family,
    complete_folder,
    option,
    options,
)
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _

# What stands for a value, where the type does not say it.
METAVARS = {
    "model": "MODEL",
    "dataset": "NAME,NAME#N",
    "dataset_dir": "DIR",
    "validation_dataset": "NAME|auto|none",
    "lora_targets": "NAME,NAME",
    "track": "NAME,NAME",
    "deepspeed": "NAME|FILE.json",
    "gpus": "N|all",
    "save_steps": "N|auto",
    "template": "FAMILY",
    "chat_template": "FILE|NAME",
    "set": "KEY=VALUE",
}
# What is taken where an option is not given, and is no constant.
DEFAULTS = {
    "backend": _("ftbridge.yaml's"),
    "model": _("ftbridge.yaml's, else the preset's"),
    "dataset": _("the last conversion's"),
    "dataset_dir": _("the last conversion's, else data"),
    "validation_steps": _("as --save-steps"),
    "lora_targets": _("those of attention, dense and shared MLPs"),
    "template": _("detected from the model's files"),
    "chat_template": _("the model's own"),
}
COMPLETE = {
    "model": complete_folder,
    "dataset": complete_dataset,
    "dataset_dir": complete_folder,
    "validation_dataset": complete_dataset,
    "template": complete_family,
}


def _parse_pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(_("`{value}` is not KEY=VALUE").format(value=value))
    return dict(value.split("=", 1) for value in values)


def _parse_lists(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.strip() for value in values for item in value.split(",") if item.strip())


def _count_or(word: str) -> Callable[[click.Context, click.Parameter, str | None], int | str | None]:
    """Return what parses a count of at least 1, or `word`."""

    def parse(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
        if value is None or value == word:
            return value
        if not value.isdecimal() or int(value) < 1:
            raise click.BadParameter(
                _("`{value}` is neither a whole number of at least 1 nor `{word}`").format(value=value, word=word)
            )
        return int(value)

    return parse


LISTS = {"dataset": _parse_lists, "set": _parse_pairs, "lora_targets": _parse_lists, "track": _parse_lists}
CALLBACKS = {**LISTS, "gpus": _count_or("all"), "save_steps": _count_or("auto")}


def _option_of_field(field: msgspec.inspect.Field) -> Any:
    """Return the option for a field of TrainSpec: its kind by its type, its help by its description."""
    name = field.encode_name
    kind, text = _bare_type(field.type)
    declared = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {
        "metavar": METAVARS.get(name),
        "show_default": DEFAULTS.get(name, _shown_default(field)),
    }
    if name in COMPLETE:
        settings["shell_complete"] = COMPLETE[name]
    if name == "backend":
        settings["type"] = PluginName("backends")
    elif name in CALLBACKS:
        settings |= {"callback": CALLBACKS[name], "multiple": name in LISTS}
    elif isinstance(kind, msgspec.inspect.BoolType):
        declared += f"/--no-{name.replace('_', '-')}"
    elif isinstance(kind, msgspec.inspect.LiteralType):
        settings["type"] = Choice(sorted(str(value) for value in kind.values))
    elif isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        settings["type"] = int if isinstance(kind, msgspec.inspect.IntType) else float
    return option(declared, name, default=None, help=_(text), **settings)


def _shown_default(field: msgspec.inspect.Field) -> str:
    """Return a field's default as the help shows it, "" for none."""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return "" if field.default in (None, msgspec.NODEFAULT, ()) else str(field.default)


def _bare_type(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, str]:
    """Return a field's type without None and what is noted of it, and its description."""
    text = ""
    while isinstance(kind, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(kind, msgspec.inspect.Metadata):
            text = text or (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        else:
            kind = next(each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
    return kind, text


def train_options(*names: str) -> Decorator[Any]:
    """Return the options for fields of TrainSpec, those of these `names` or all; None stands for what is not given."""
    fields = msgspec.inspect.type_info(TrainSpec).fields  # type: ignore[attr-defined]
    return options(*(_option_of_field(each) for each in fields if not names or each.encode_name in names))
