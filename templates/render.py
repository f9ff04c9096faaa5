"""Rendering of the shipped templates: values become literals, undefined names are errors."""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any, Self, cast

import jinja2
import msgspec
from jinja2.sandbox import SandboxedEnvironment

from ftbridge.core.errors import UsageError
from ftbridge.language import gettext as _
from ftbridge.language import joined


class Name(str):
    """A name of ours that a template writes as it is, with the filter `name`: letters, digits, underscores."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raise ValueError for anything but one identifier."""
        if not text.isidentifier():
            raise ValueError(_("{text!r} is no name").format(text=text))
        return super().__new__(cls, text)


# JSON allows these as they are; YAML refuses them, or takes them for the end of a line.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_LITERAL_TYPES = (str, int, float, bool, type(None), list, tuple, dict, Name)


def python_literal(value: Any) -> str:
    """Return `value` as a Python literal; raises TypeError for what is no plain value."""
    _check_plain(value)
    return str(value) if isinstance(value, Name) else repr(value)


def json_literal(value: Any) -> str:
    """Return `value` as a JSON literal, which YAML reads too; raises TypeError for what is no plain value."""
    _check_plain(value)
    if isinstance(value, dict):
        pairs = (f"{json_literal(str(key))}: {json_literal(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(json_literal, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return text if "." in text else text.replace("e", ".0e")
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def render_python(template: str, *, package: str = "ftbridge.templates", **values: Any) -> str:
    """Render a `package`'s template of Python code, in which every expression becomes a literal."""
    return _jinja_environment(python_literal, package).get_template(template).render(**values)


def render_yaml(template: str, *, package: str = "ftbridge.templates", **values: Any) -> str:
    """Render a `package`'s template of YAML, in which every expression becomes a JSON literal."""
    return _jinja_environment(json_literal, package).get_template(template).render(**values)


def deepspeed_names() -> list[str]:
    """Return the names of the shipped DeepSpeed configs."""
    folder = resources.files("ftbridge.templates") / "deepspeed"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def deepspeed_config(name: str) -> dict[str, Any]:
    """Return the shipped DeepSpeed config `name`; raises UsageError for an unknown one."""
    if name not in deepspeed_names():
        raise UsageError(
            _("there is no DeepSpeed config `{name}`; choose none, {deepspeed_names}, or a .json file").format(
                name=name, deepspeed_names=joined(", ", deepspeed_names())
            )
        )
    file = resources.files("ftbridge.templates") / "deepspeed" / f"{name}.json"
    return cast("dict[str, Any]", msgspec.json.decode(file.read_bytes()))


def _jinja_environment(finalize: Callable[[Any], str], package: str) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=jinja2.FunctionLoader(partial(_read_template, package)),
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["name"] = Name
    return environment


def _read_template(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")


def _check_plain(value: Any) -> None:
    """Raise TypeError for a value without a literal: infinity, NaN, and subclasses, whose repr could be anything."""
    if type(value) not in _LITERAL_TYPES or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(_("{name} cannot be written into a config").format(name=type(value).__name__))
    if isinstance(value, dict):
        value = tuple(value.items())
    if isinstance(value, list | tuple):
        for item in value:
            _check_plain(item)
