"""The options that the sections of a recipe take: those of the commands of the same names."""

import inspect
import types
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import closest, parse
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.weights.merge import parse_size

if TYPE_CHECKING:
    from ftbridge.experiments.sweep.options import SweepOptions

Values = dict[str, Any]
STEPS = ("convert", "train", "sweep", "export", "evaluate", "report")
# Where an option is a keyword of a function: the function, and those that the recipe itself decides.
_FUNCTIONS = {
    "convert": ("ftbridge.adapters.convert.pipeline.convert", "dataset_dir dry_run callback"),
    "evaluate": (
        "ftbridge.evaluation.evaluate.evaluate",
        "dataset_dir endpoint endpoint_model concurrency replace name",
    ),
    "report": ("ftbridge.evaluation.report.report.report", ""),
}
_OF_MERGE: dict[str, Any] = {"shard_size": str | int, "onto": Literal["nf4", "fp4"]}
# What a TrainSpec must have, and a recipe or its conversion gives later.
_NEEDED = {"backend": "", "model": "", "dataset": ""}


@cache
def options_of(section: str) -> type[msgspec.Struct]:
    """Return a record whose fields are the options of a section, all with a default."""
    if section == "sweep":
        from ftbridge.experiments.sweep.options import SweepOptions

        return SweepOptions
    if section == "export":
        return _record(section, {"checkpoint": str | int, "merge": bool, **_OF_MERGE})
    if section == "train":
        types = {field.name: field.type for field in msgspec.structs.fields(TrainSpec)}
        decided = "dataset dataset_dir"
    else:
        path, decided = _FUNCTIONS[section]
        module, _unused, function = path.rpartition(".")
        hints = _keyword_types(getattr(import_module(module), function))
        types = {name: _plain(kind) for name, kind in hints.items()}
    if section == "convert":
        types |= {"sources": list[str] | str, "label_map": dict[str | int, str] | str}
    return _record(section, {name: kind for name, kind in types.items() if name not in decided.split()})


def _record(name: str, types: Mapping[str, Any]) -> type[msgspec.Struct]:
    return msgspec.defstruct(name, [(field, kind, None) for field, kind in types.items()], frozen=True, kw_only=True)


def _keyword_types(function: Any) -> dict[str, Any]:
    """Return the types of a function's keyword parameters, those of a TypedDict behind `**` as well."""
    hints = get_type_hints(function)
    found = {}
    for each in inspect.signature(function).parameters.values():
        if each.kind is inspect.Parameter.KEYWORD_ONLY:
            found[each.name] = hints[each.name]
        elif each.kind is inspect.Parameter.VAR_KEYWORD:
            found |= get_type_hints(get_args(hints[each.name])[0])
    return found


def _plain(kind: Any) -> Any:
    """Return the part of a type that YAML has: without paths and records, which their texts stand for."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    plain = [
        each
        for each in get_args(kind)
        if getattr(get_origin(each) or each, "__name__", "") != "PathLike"
        and not (isinstance(each, type) and issubclass(each, msgspec.Struct))
    ]
    return Union[tuple(plain)]  # noqa: UP007 - of types that are only known now


def check_section(section: str, values: Values, where: str, places: Mapping[str, str]) -> Values:
    """Return the options of a section, each as the type that it is.

    Raises InputError for one that the section has not, with the closest one or the section that has it, and for a value
    that does not fit; `where` names the recipe, and `places` says of keys where they stand.
    """
    kind = options_of(section)
    for key in values:
        if key not in kind.__struct_fields__:
            raise InputError(
                _("{key} {why_unknown}").format(
                    key=places.get(key, f"{where}: `{key}`"), why_unknown=_why_unknown(section, key)
                )
            )
    if section == "train" and isinstance(extra := values.get("set"), dict):
        # What goes to a framework as it is has come as text, and YAML has read numbers already.
        texts = {key: msgspec.json.encode(each).decode() for key, each in extra.items() if not isinstance(each, str)}
        values = {**values, "set": {**extra, **texts}}
    if section == "convert" and isinstance(values.get("split"), int):
        raise InputError(
            _('YAML reads {text} as a number: put it in quotes, as in `split: "7:3"`').format(
                text=places.get("split", where)
            )
        )
    checked = parse(kind, values, where, places)
    if section == "train":
        parse(TrainSpec, {**_NEEDED, **values}, where, places)
        _check_backend(values, where, places)
    if section == "export":
        _check_merge(values, where, places)
    if section == "sweep":
        _check_points(cast("SweepOptions", checked), where)
    return {key: msgspec.to_builtins(getattr(checked, key)) for key in values}


def _check_backend(values: Values, where: str, places: Mapping[str, str]) -> None:
    try:
        load_backend(str(values.get("backend") or plugin_names("backends")[0]))
    except UsageError as error:
        raise InputError(
            _("{text}: {error}").format(
                text=places.get("backend", _("{where}: `backend`").format(where=where)), error=error
            )
        ) from error


def _check_merge(values: Values, where: str, places: Mapping[str, str]) -> None:
    """Raise InputError for options of a merge where there is none, and for a size that is none."""
    for name in _OF_MERGE:
        if name in values and not values.get("merge"):
            raise InputError(
                _("{name} is an option of a merge; add `merge: true`").format(
                    name=places.get(name, f"{where}: `{name}`")
                )
            )
    if "shard_size" in values:
        try:
            parse_size(str(values["shard_size"]))
        except ValueError as error:
            raise InputError(
                _("{text}: {error}").format(
                    text=places.get("shard_size", _("{where}: `shard_size`").format(where=where)), error=error
                )
            ) from error


def _check_points(options: "SweepOptions", where: str) -> None:
    """Raise InputError where a sweep has no points, or two of the same; of very many this is told when it begins."""
    from ftbridge.experiments.sweep.options import number_of_points, settings_of
    from ftbridge.experiments.sweep.sweep import MOST_POINTS

    if number_of_points(options) <= MOST_POINTS:
        try:
            settings_of(options)
        except UsageError as error:
            raise InputError(_("{where}: {error}").format(where=where, error=error)) from error


def _why_unknown(section: str, key: str) -> str:
    if key in {"dataset", "dataset_dir"} and section == "train":
        return _("is given under `train`, but a recipe trains on what it converts; leave it out")
    own = [name for name in STEPS if name != section and key in options_of(name).__struct_fields__]
    if own:
        return _("is given under `{section}`, but is an option of {own}").format(
            section=section, own=joined(_(" and "), (f"`{name}`" for name in own))
        )
    return _("is not an option of `{section}`{hint}").format(
        section=section, hint=closest(key, options_of(section).__struct_fields__)
    )
