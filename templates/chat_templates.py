"""The chat template in a model's folder, and the text that it renders of a conversation.

It is rendered in Jinja's sandbox, by a process of its own (render_chat_template.py).
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.process import children
from ftbridge.language import gettext as _

_MOST_CHARACTERS = 1 << 18
_REFUSAL = _("`{}` is not what a model has there")
_TIMEOUT = 20  # seconds, by the clock, for what may take four of the processor's


class _ChatTemplate(msgspec.Struct):
    chat_template: Any = None


def read_chat_template(model: Path) -> str:
    """Return the chat template in the folder `model`, that called `default` of several; "" where there is none."""
    file = model / "chat_template.jinja"
    if file.is_file():
        return read_text(file, _("chat template"))
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = model / name
        kept = load_json(read_text(file, name), _ChatTemplate, _REFUSAL.format(file)) if file.is_file() else None
        if kept and kept.chat_template:
            return _default_template(kept.chat_template)
    return ""


def special_tokens(model: Path) -> dict[str, str]:
    """Return the special tokens of the tokenizer in the folder `model`, by the names that a chat template uses."""
    file = model / "tokenizer_config.json"
    config = load_json(read_text(file, file.name), dict[str, Any], _REFUSAL.format(file)) if file.is_file() else {}
    special = {name: config.get(name) or "" for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return {name: str(token.get("content") if isinstance(token, dict) else token) for name, token in special.items()}


def _default_template(found: Any) -> str:
    """Return the template called `default` of several, or the first; "" for what is none."""
    if not isinstance(found, list):
        return found if isinstance(found, str) else ""
    named = [each for each in found if isinstance(each, dict) and isinstance(each.get("template"), str)]
    named.sort(key=lambda each: each.get("name") != "default")
    return str(named[0]["template"]) if named else ""


def render_chat_template(
    template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str], *, prompt: bool = True
) -> str | None:
    """Return the text of a conversation as the template renders it; None where it fails to.

    `tokens` are the tokenizer's `special_tokens`. As a `prompt` it is open for an answer.
    """
    if len(template) > _MOST_CHARACTERS:
        return None
    request = msgspec.json.encode({"template": template, "messages": messages, "tokens": tokens, "prompt": prompt})
    argv = [sys.executable, "-I", str(Path(__file__).with_name("render_chat_template.py"))]
    try:
        done = children.run(argv, given=request, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_TIMEOUT)
        return msgspec.json.decode(done.stdout, type=str)
    except (subprocess.TimeoutExpired, msgspec.MsgspecError):  # of one that failed nothing is on stdout
        return None
