"""A model's own chat template: where it stands, and what it makes of a conversation.

It is rendered in Jinja's sandbox, set up as transformers does it (utils/chat_template_utils.py), without any file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import read_text

_LARGEST = 1 << 18  # letters


class _ChatTemplate(msgspec.Struct):
    chat_template: Any = None


def read(model: Path) -> str:
    """Return the chat template of the model in the folder `model`, all of them together where it has several, or ""."""
    own = model / "chat_template.jinja"
    if own.is_file():
        return read_text(own, "chat template")
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = model / name
        if file.is_file():
            try:
                found = msgspec.json.decode(read_text(file, name), type=_ChatTemplate).chat_template
            except msgspec.MsgspecError as error:
                raise InputError(f"`{file}` is not what a model has there: {error}") from error
            if found:
                return found if isinstance(found, str) else "\n".join(str(each) for each in found)
    return ""


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str]) -> str | None:
    """Return the conversation as the template writes it, open for an answer; None where it does not render it.

    `tokens` are what it may know of the tokenizer: `bos_token`, `eos_token` and the like.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        """The sandbox, in which texts cannot be multiplied until memory is full."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, _context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or not isinstance(left, int) or not isinstance(right, int):
                raise ValueError(f"{left!r:.20} {operator} {right!r:.20}")
            return left * right

    if len(template) > _LARGEST:
        return None
    environment = Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, tools=None, documents=None, **tokens
        )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError):
        return None


def _refuse(message: str) -> None:
    raise ValueError(message)
