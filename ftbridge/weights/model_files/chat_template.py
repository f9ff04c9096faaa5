"""The chat template that an exported or merged folder gets: a server renders it, and is to ask as the training did.

Where tokens were made once, it is the very template that made them. Where a framework's own template did, the model's
may add a system prompt by itself that the training has not seen, as Qwen 2.5's does: that is taken out.
"""

import re
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.core.files.atomic import write_atomic, write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.templates import chat_templates
from ftbridge.templates.families import Family
from ftbridge.templates.prompt import ChatPrompt
from ftbridge.tokens.chat_template import TEMPLATE_FILE
from ftbridge.weights.card import ModelCard
from ftbridge.weights.model_files.config import write_generation
from ftbridge.weights.model_files.tokenizer import special_tokens

_QUESTION = {"role": "user", "content": "The user's words."}
_SYSTEM = {"role": "system", "content": "The system's words."}
_MORE_TURNS = ({"role": "assistant", "content": "The answer."}, {"role": "user", "content": "More words."})


def write(folder: Path, card: ModelCard) -> None:
    """Write the chat template of the training into `folder`, or one like it where the folder has none.

    A model that answers by the training's own stops at the token that it has learned to end an answer with.
    """
    if card.chat_template:
        _replace(folder, card.chat_template.text)
        if (folder / "config.json").is_file() and (stop := learned_stop(folder, card.chat_template.text)):
            write_generation(folder, [stop])
    elif card.family and not chat_templates.read_chat_template(folder):
        write_atomic(folder / TEMPLATE_FILE, card.prompt.chat_template())
    leave_out(folder, card)


def learned_stop(folder: Path, template: str) -> str:
    """Return the special token that ends an answer by a template, as the training has it; "" where there is none.

    It stands straight after the answer, or, where nothing does, before the next question, as GLM's `<|user|>`; else it
    is the tokenizer's end token.
    """
    tokens, special = chat_templates.special_tokens(folder), special_tokens(folder)
    names = "|".join(map(re.escape, sorted({*special, *tokens.values()} - {""}, key=len, reverse=True)))
    turn = [_QUESTION, _MORE_TURNS[0]]
    for messages in (turn, [*turn, *turn]) if names else ():
        text = chat_templates.render_chat_template(template, messages, tokens, prompt=False) or ""
        behind = text.partition(_MORE_TURNS[0]["content"])[2]
        if found := re.match(rf"(\s*({names}))+", behind):
            following = re.findall(names, found[0])
            return tokens["eos_token"] if tokens["eos_token"] in following else following[0]
    return tokens["eos_token"]


def text_of_native(model: Path, family: Family, backend: str, system: str) -> str:
    """Return the chat template that a folder gets which is made of a training by a framework's own template.

    `model` is its base, `system` the system prompt that all samples share.
    """
    prompt = family.cell(backend).prompt
    template = chat_templates.read_chat_template(model)
    if not template or system:
        return template or prompt.chat_template()
    tokens = chat_templates.special_tokens(model)
    added = _added_system(template, tokens, prompt)
    return (_template_without(template, added, tokens, prompt) if added.strip() else "") or template


def _replace(folder: Path, text: str) -> None:
    """Make `text` the only chat template in `folder`: transformers reads the file first, and others may not."""
    for file in (folder / "tokenizer_config.json", folder / "chat_template.json"):
        if file.is_file() and "chat_template" in (config := read_json(file)):
            write_json(file, {key: value for key, value in config.items() if key != "chat_template"})
    write_atomic(folder / TEMPLATE_FILE, text)


def leave_out(folder: Path, card: ModelCard) -> None:
    """Take such a system prompt out of the chat template in `folder`, where a run of ours trained without one.

    A template in which it does not stand as text stays as it is. Either is said.
    """
    template = chat_templates.read_chat_template(folder)
    if not (card.run and card.family and template) or card.system:
        return
    tokens = chat_templates.special_tokens(folder)
    added = _added_system(template, tokens, card.prompt)
    if not added.strip():
        return
    changed = _template_without(template, added, tokens, card.prompt)
    shown = " ".join(added.split())
    what = _(
        "note: without a system prompt the model's chat template adds `{shown:.200}`, and the training did not"
    ).format(shown=shown)
    if not changed:
        say(_("{what}: a server, which renders it, asks otherwise than `ftbridge chat`").format(what=what))
        return
    own, config = folder / TEMPLATE_FILE, folder / "tokenizer_config.json"
    if own.is_file():
        write_atomic(own, changed)
    else:
        write_json(config, {**read_json(config), "chat_template": changed})
    say(_("{what}; the new folder's does not, either").format(what=what))


def _added_system(template: str, tokens: dict[str, str], prompt: ChatPrompt) -> str:
    """Return what the template writes before a question where the prompt has nothing; "" for any other difference."""
    words, bos = _QUESTION["content"], "".join(prompt.bos)
    wanted = prompt.render("", [(words, None)]).partition(words)[0].removeprefix(bos)
    shown = (chat_templates.render_chat_template(template, [_QUESTION], tokens) or "").partition(words)[0]
    shown = shown.removeprefix(bos or tokens["bos_token"])
    return shown.removesuffix(wanted) if shown.endswith(wanted) else ""


def _template_without(template: str, added: str, tokens: dict[str, str], prompt: ChatPrompt) -> str:
    """Return the template without the text `added`, or "" where it does not stand there, or more would change."""
    written = [added, added.replace("\n", "\\n")]
    changed = next((template.replace(text, "") for text in written if text in template), "")
    given = [_SYSTEM, _QUESTION, *_MORE_TURNS]
    same = (
        changed
        and not _added_system(changed, tokens, prompt)
        and chat_templates.render_chat_template(changed, given, tokens)
        == chat_templates.render_chat_template(template, given, tokens)
    )
    return changed if same else ""
