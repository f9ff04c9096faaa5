"""Values from the outside into records: checked once, at the edge, with messages a person can act on."""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text

Record = TypeVar("Record", bound=msgspec.Struct)
T = TypeVar("T")
# A path in a file: no system takes one with NUL, and Python raises a bare ValueError for it.
PathText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
# Merges (`<<`) of merges could make a small file fill the memory: no mapping gets more keys and values by them.
MOST_MERGED = 10_000
DEEPEST = 100  # lists and mappings within each other, in YAML
SHOWN = 200  # letters of what a parser says, which may quote the whole file


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
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:
        raise InputError(f"{where}: {_reason(error)}") from error


def load_json(text: bytes | str, kind: type[T], refusal: str) -> T:
    """Return the JSON in a text as `kind`; raises InputError, the `refusal` and why, for anything else."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InputError(f"{refusal}: {_reason(error)}") from error


def read_json(file: Path, what: str = "file") -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError, naming `what` it should be, where there is none."""
    return load_json(read_text(file, what), dict[str, Any], f"the {what} `{file}` holds no JSON object")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):  # which Python's own reader of JSON lets through
        return "it holds half a surrogate pair"
    return "it is not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:SHOWN]


def load_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping in a YAML text; raises InputError for anything else."""
    import yaml

    # PyYAML's own for a syntax; the others for a date, a number or a tag whose value is none.
    faults = (yaml.YAMLError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    try:
        values = yaml.load(text, _yaml_loader())  # noqa: S506 - a safe one
    except faults as error:
        reason = str(error) if isinstance(error, yaml.YAMLError) else _reason(error)
        more = "" if isinstance(error, (yaml.YAMLError, RecursionError)) else "; in quotes it is text"
        raise InputError(f"{where} is not valid YAML: {reason}{more}") from error
    if not isinstance(values, dict):
        if values is None:
            return {}
        raise InputError(f"{where} holds {type(values).__name__}, not `key: value` lines")
    return {str(key): value for key, value in values.items()}


@cache
def _yaml_loader() -> Any:
    """Return what `safe_load` uses, by libyaml where PyYAML has it (ten times as fast), with bounds of ours."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        depth = 0

        def descend_resolver(self, node: Any, index: Any) -> None:
            super().descend_resolver(node, index)
            self.depth += 1
            if self.depth > DEEPEST:  # libyaml's own descent would crash the process
                raise RecursionError

        def ascend_resolver(self) -> None:
            super().ascend_resolver()
            self.depth -= 1

        def flatten_mapping(self, node: Any) -> None:
            before = len(node.value)
            super().flatten_mapping(node)
            if len(node.value) > before + MOST_MERGED:
                raise ValueError(f"merges (`<<`) make one mapping of {len(node.value):,} values")

        def construct_yaml_int(self, node: Any) -> int:
            value: int = super().construct_yaml_int(node)
            if abs(value) > sys.maxsize:  # Python could not even show one of 4,300 digits
                raise ValueError("a number of more than 64 bits")
            return value

        def construct_yaml_str(self, node: Any) -> str:
            value: str = super().construct_yaml_str(node)
            if "\0" in value:  # no path may hold it
                raise ValueError("a text with the character NUL")
            return value

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    Loader.add_constructor("tag:yaml.org,2002:str", Loader.construct_yaml_str)
    return Loader
