"""Values from the outside into records: checked once, at the edge, with messages a person can act on."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from ftbridge.core.errors import InputError

Record = TypeVar("Record", bound=msgspec.Struct)


def closest(word: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean ...?)` for a near miss, else the list of choices."""
    choices = list(choices)
    near = get_close_matches(word, choices, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are: {', '.join(sorted(choices))}"


def parse(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """Make a `kind` of `values`; raises InputError naming `where`, the key, and the closest known key."""
    for key in values:
        if key not in kind.__struct_fields__:
            raise InputError(f"{where} has an unknown key `{key}`{closest(key, kind.__struct_fields__)}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from error


def load_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping in a YAML text; raises InputError for anything else."""
    import yaml

    try:
        # The same as safe_load, by libyaml where PyYAML has it: ten times as fast.
        values = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        if values is None:
            return {}
        raise InputError(f"{where} holds {type(values).__name__}, not `key: value` lines")
    return {str(key): value for key, value in values.items()}
