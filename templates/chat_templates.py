"""A model's own chat template: where it stands, and what it makes of a conversation.

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

_LARGEST = 1 << 18  # letters
_REFUSAL = "`{}` is not what a model has there"
_PATIENCE = 20  # seconds, by the clock, for what may take four of the processor's


class _ChatTemplate(msgspec.Struct):
    chat_template: Any = None


def read(model: Path) -> str:
    """Return the chat template of the model in the folder `model`, that called `default` of several, or ""."""
    own = model / "chat_template.jinja"
    if own.is_file():
        return read_text(own, "chat template")
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = model / name
        kept = load_json(read_text(file, name), _ChatTemplate, _REFUSAL.format(file)) if file.is_file() else None
        if kept and kept.chat_template:
            return _chosen(kept.chat_template)
    return ""


def special_tokens(model: Path) -> dict[str, str]:
    """Return what a chat template may know of the tokenizer in the folder `model`."""
    file = model / "tokenizer_config.json"
    named = load_json(read_text(file, file.name), dict[str, Any], _REFUSAL.format(file)) if file.is_file() else {}
    special = {name: named.get(name) or "" for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return {name: str(token.get("content") if isinstance(token, dict) else token) for name, token in special.items()}


def _chosen(found: Any) -> str:
    """Return the template called `default` of several, or the first; "" for what is none."""
    if not isinstance(found, list):
        return found if isinstance(found, str) else ""
    named = [each for each in found if isinstance(each, dict) and isinstance(each.get("template"), str)]
    named.sort(key=lambda each: each.get("name") != "default")
    return str(named[0]["template"]) if named else ""


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str]) -> str | None:
    """Return the conversation as the template writes it, open for an answer; None where it does not render it.

    `tokens` are what it may know of the tokenizer, see `special_tokens`.
    """
    if len(template) > _LARGEST:
        return None
    request = msgspec.json.encode({"template": template, "messages": messages, "tokens": tokens})
    argv = [sys.executable, "-I", str(Path(__file__).with_name("render_chat_template.py"))]
    try:
        done = children.run(argv, given=request, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_PATIENCE)
        return msgspec.json.decode(done.stdout, type=str)
    except (subprocess.TimeoutExpired, msgspec.MsgspecError):  # of one that failed nothing is on stdout
        return None
