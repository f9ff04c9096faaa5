"""Tokens made once, before a training starts: by the model's chat template, in the training environment."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.console import natural_size, progress, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import sha256_of_files
from ftbridge.core.process import children
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.environment.venv import installed_versions
from ftbridge.launchers.hardware import host
from ftbridge.launchers.process.script import SCRIPTS, command, environment
from ftbridge.tokens.chat_template import ChatTemplate, Thinking, choose_chat_template
from ftbridge.tokens.ready import Counts, Fingerprint, ReadyTokens, TokenOptions, ready_tokens, tokenizer_files

TARGET = "messages"
_CODE = ("tokenize_dataset", "chat_tokens", "cutoff_tokens", "pack_tokens")
_THOUGHTS = (b'"reasoning_content"', b"<think>")
_BLOCK = 1 << 20


class _Line(msgspec.Struct, frozen=True):
    """What the script prints: how many bytes of the messages are done, what it counted, or what is wrong."""

    bytes: int = 0
    of: int = 0
    counts: Counts | None = None
    error: str = ""


def chat_template_of(spec: TrainSpec, model: Path, messages: Path) -> ChatTemplate:
    """Return the chat template of a training on a file of messages; raises as `choose_chat_template`."""
    thinking: Thinking = ("on" if has_thoughts(messages) else "off") if spec.thinking == "auto" else spec.thinking
    return choose_chat_template(model, spec.chat_template, thinking)


def has_thoughts(messages: Path) -> bool:
    """Tell whether a file of messages holds thoughts before answers."""
    end = b""
    with messages.open("rb") as content:
        while block := content.read(_BLOCK):
            if any(mark in end + block for mark in _THOUGHTS):
                return True
            end = block[-32:]
    return False


def tokens_of(
    data: Dataset, model: Path, template: ChatTemplate, options: TokenOptions, *, folder: Path, python: Path, trust: bool
) -> ReadyTokens:
    """Return the ready tokens of a dataset in `folder`, made by the interpreter `python` where they are not there.

    Raises InputError for a conversation that cannot be trained, SetupError where the environment cannot do it.
    """
    name = data.entry.files[TARGET]
    fingerprint = Fingerprint(
        messages=data.sha256[name],
        tokenizer=tokenizer_files(model),
        chat_template=template.sha256,
        options=options,
        code=_code(),
        version=installed_versions(python).get("transformers", ""),
    )

    def make(unfinished: Path) -> Counts:
        spec = {
            "model": str(model),
            "trust_remote_code": trust,
            "template": template.text,
            "file": str(data.folder / name),
            "folder": str(unfinished),
            "last_only": options.learn == "last",
            "cutoff_length": options.cutoff_length,
            "too_long": options.too_long,
            "packing": options.packing,
            "processes": host.cores(),
            "fingerprint": fingerprint.key,
        }
        say(f"making the tokens of `{data.name}` by {template.origin}")
        return _counted(python, spec, data.name)

    return ready_tokens(folder, fingerprint, template, make)


def _counted(python: Path, spec: dict[str, Any], dataset: str) -> Counts:
    """Run the script, with a bar, and return what it counted."""
    argv = children.guarded(command(python, "tokenize_dataset", spec))
    last, written = _Line(), list[str]()
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(), text=True) as process,
        progress("bar", "percent", "left", total=Path(spec["file"]).stat().st_size, line=lambda done: f"{natural_size(done)} done") as show,
    ):
        try:
            for line in process.stdout or ():
                written.append(line)
                last = msgspec.json.decode(line, type=_Line)
                show(last.bytes)
        except BaseException:
            process.terminate()
            raise
    if last.error:
        raise InputError(f"the tokens of `{dataset}` cannot be made: {last.error}")
    if not last.counts:
        raise SetupError(f"`{python}` could not make tokens (exit status {process.returncode})")
    return last.counts


@cache
def _code() -> str:
    return sha256_of_files({name: SCRIPTS / f"{name}.py" for name in _CODE})
