"""Values from the outside into records: checked once, at the edge, with messages a person can act on."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.expectations import wrong_value
from ftbridge.core.parsing.suggestions import meant
from ftbridge.language import gettext as _
from ftbridge.language import joined

Record = TypeVar("Record", bound=msgspec.Struct)
T = TypeVar("T")
# A path in a file: no system takes one with NUL, and Python raises a bare ValueError for it.
PathText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
# Merges (`<<`) of merges could make a small file fill the memory: no mapping gets more keys and values by them.
MOST_MERGED = 10_000
DEEPEST = 100  # lists and mappings within each other, in YAML
# What msgspec says of a value of the wrong type, and what people call its types.
_WRONG_TYPE = re.compile(
    r"Expected `(?P<expected>.+?)`(?P<limit>.*?)(?:, got `(?P<got>\w+)`)?(?: - at `(?:key in )?\$\.?(?P<key>.*)`)?$"
)
_KINDS = {
    "int": _("a whole number"),
    "float": _("a number"),
    "str": _("text"),
    "bool": _("true or false"),
    "object": _("an object"),
    "array": _("a list"),
    "null": _("null"),
}
_MALFORMED = re.compile(r"JSON is malformed: (?P<detail>.{1,100}) \(byte (?P<position>\d+)\)")
SHOWN = 200  # letters of what a parser says, which may quote the whole file


def closest(word: str, choices: Iterable[str]) -> str:
    """Return `; did you mean ...?` for what means the same or has nearly the same letters, else the choices."""
    choices = list(choices)
    return nearest(word, choices) or _("; known are: {choices}").format(choices=joined(", ", sorted(choices)))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `; did you mean ...?` as `closest` does, "" where nothing is near."""
    near = meant(word, choices)
    return _("; did you mean {near}?").format(near=joined(_(" or "), (f"`{each}`" for each in near))) if near else ""


def parse(
    kind: type[Record], values: Mapping[str, Any], where: str, places: Mapping[str, str] = MappingProxyType({})
) -> Record:
    """Make a `kind` of `values`; raises InputError naming `where`, the key, and what it takes or the closest known key.

    `places` are what keys are called that do not come from `where`, such as "`--lora-rank`".
    """
    for key in values:
        if key not in kind.__struct_fields__:
            raise InputError(
                _("{where} has an unknown key `{key}`{hint}").format(
                    where=where, key=key, hint=closest(key, kind.__struct_fields__)
                )
            )
    try:
        return msgspec.convert(values, kind, strict=False)
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:
        key, words = wrong_value(kind, values) if isinstance(error, msgspec.ValidationError) else ("", "")
        if key:
            raise InputError(
                _("{key} {words}").format(key=places.get(key, joined(": ", (where, f"`{key}`"))), words=words)
            ) from error
        raise InputError(_("{where}: {reason}").format(where=where, reason=_reason(error))) from error


def load_json(text: bytes | str, kind: type[T], refusal: str) -> T:
    """Return the JSON in a text as `kind`; raises InputError, the `refusal` and why, for anything else."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InputError(_("{refusal}: {reason}").format(refusal=refusal, reason=_reason(error))) from error


def read_json(file: Path, what: str = "") -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError, naming `what` it should be, where there is none."""
    what = what or _("file")
    return load_json(
        read_text(file, what),
        dict[str, Any],
        _("the {what} `{file}` holds no JSON object").format(what=what, file=file),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return _("it is nested too deeply")
    if isinstance(error, UnicodeEncodeError):  # which Python's own reader of JSON lets through
        return _("it holds half a surrogate pair")
    # msgspec up to 0.22 raised Python's own error; 0.23 has words for it.
    if isinstance(error, UnicodeDecodeError) or str(error).startswith("Invalid UTF-8"):
        return _("it is not in UTF-8")
    if isinstance(error, msgspec.ValidationError):
        return validation_reason(str(error))[:SHOWN]
    if malformed := _MALFORMED.fullmatch(str(error)):
        return _("JSON is malformed: {detail} (byte {position})").format(
            detail=malformed["detail"], position=malformed["position"]
        )
    return str(error)[:SHOWN]


def validation_reason(message: str) -> str:
    """Return msgspec's message in plain words: `at which key` it should be what."""
    if missing := re.match(r"Object missing required field `(.+?)`", message):
        return _("`{missing}` is missing").format(missing=missing[1])
    if not (wrong := _WRONG_TYPE.match(message)):
        return message
    expected = joined(_(" or "), (_KINDS.get(kind, kind) for kind in wrong["expected"].split(" | "))) + wrong["limit"]
    got = _(", not {got}").format(got=_KINDS.get(wrong["got"], wrong["got"])) if wrong["got"] else ""
    return _("{key} should be {expected}{got}").format(
        key="`" + wrong["key"] + "`" if wrong["key"] else _("it"), expected=expected, got=got
    )


def load_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping in a YAML text; raises InputError, with the line, for anything else."""
    return load_yaml_lines(text, where)[0]


def load_yaml_lines(text: str, where: str, depth: int = 1) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the mapping in a YAML text, and the line of each of its keys; raises as `load_yaml` does.

    With a `depth` above 1 the keys of mappings in it have lines, too: `outer.inner`.
    """
    import yaml

    # PyYAML's own for a syntax; the others for a date, a number or a tag whose value is none.
    faults = (yaml.YAMLError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    loader = None
    try:
        loader = _yaml_loader()(text)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except faults as error:
        raise InputError(
            _("{where} is not valid YAML: {yaml_reason}").format(
                where=where, yaml_reason=yaml_reason(error, text, loader)
            )
        ) from error
    finally:
        if loader:
            loader.dispose()
    if not isinstance(values, dict):
        if values is None:
            return {}, {}
        hint = _("; a key is followed by `:` and a blank") if isinstance(values, str) else ""
        raise InputError(
            _("{where} holds {name}, not `key: value` lines{hint}").format(
                where=where, name=type(values).__name__, hint=hint
            )
        )
    return {str(key): value for key, value in values.items()}, dict(_key_lines(node, depth))


def _key_lines(node: Any, depth: int, outer: str = "") -> Iterator[tuple[str, int]]:
    import yaml

    for key, value in node.value:
        yield f"{outer}{key.value}", key.start_mark.line + 1
        if depth > 1 and isinstance(value, yaml.MappingNode):
            yield from _key_lines(value, depth - 1, f"{outer}{key.value}.")


def yaml_reason(error: Exception, text: str, loader: Any = None) -> str:
    """Return the line at which PyYAML found a text at fault, where that is known, and what is wrong there."""
    import yaml

    if isinstance(error, RecursionError):
        return _reason(error)
    if isinstance(error, yaml.MarkedYAMLError):
        # What is missing is missed past the end.
        line = error.problem_mark and min(error.problem_mark.line + 1, len(text.splitlines()))
        reason = ", ".join(filter(None, (error.context, error.problem)))[:SHOWN]
    elif isinstance(error, yaml.reader.ReaderError):
        in_bytes = isinstance(error.character, int)  # libyaml's
        before = text.encode()[: error.position] if in_bytes else text[: error.position].encode()
        line, reason = before.count(b"\n") + 1, error.reason
    else:
        line = loader.node.start_mark.line + 1 if loader and loader.node else None
        reason = error.args[0] if isinstance(error, _RefusedError) else _reason(error)
        if not isinstance(error, _RefusedError):
            reason = _("{reason}; in quotes it is text").format(reason=reason)
    return _("line {line}: {reason}").format(line=line, reason=reason) if line else reason


class _RefusedError(ValueError):
    """A value that YAML allows and we do not, in quotes or not."""


class _NodeNoting:
    """A loader that notes the `node` that a value is to be made of, for the line of one that is none."""

    node: Any = None

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        self.node = node
        return super().construct_object(node, deep)  # type: ignore[misc]  # PyYAML's


@cache
def _yaml_loader() -> Any:
    """Return what `safe_load` uses, by libyaml where PyYAML has it (ten times as fast), with bounds of ours."""
    import yaml

    class Loader(_NodeNoting, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
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
                raise _RefusedError(
                    _("merges (`<<`) make one mapping of {count:,} values").format(count=len(node.value))
                )

        def construct_yaml_int(self, node: Any) -> int:
            value: int = super().construct_yaml_int(node)
            if abs(value) > sys.maxsize:  # Python could not even show one of 4,300 digits
                raise ValueError(_("a number of more than 64 bits"))
            return value

        def construct_yaml_str(self, node: Any) -> str:
            value: str = super().construct_yaml_str(node)
            if "\0" in value:  # no path may hold it
                raise _RefusedError(_("a text with the character NUL"))
            return value

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    Loader.add_constructor("tag:yaml.org,2002:str", Loader.construct_yaml_str)
    return Loader
