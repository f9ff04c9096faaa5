"""The family of a model folder, detected by its tokenizer and chat template."""

import json
import re
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.templates import chat_templates
from ftbridge.templates.families import TOKEN_LIKE, Family, Match, load_families
from ftbridge.templates.prompt import Token, text_of

# Where a vocabulary's tokens can be read as text, JSON files first; the code of ChatGLM3 names its own.
_TOKEN_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
)
_SENTENCEPIECE_FILE = "tokenizer.model"
_TOKENIZER_CODE = "tokenization_*.py"


class _Config(msgspec.Struct):
    model_type: str | None = None
    vocab_size: int | None = None
    padded_vocab_size: int | None = None
    name: str | None = msgspec.field(default=None, name="_name_or_path")


def detect_family(model: Path) -> Family:
    """Return the family of the model in the folder `model`.

    Raises InputError where there is no readable config.json, or where what it says fits no family.
    """
    found, config = _best_match(model)
    if found:
        return found
    alike = [each.title for each in load_families().values() if config.model_type in each.match.model_type]
    near = joined(", ", alike)
    why = (
        _("has vocabulary, chat template or name of neither {near}").format(near=near)
        if near
        else _("is of no known family")
    )
    raise InputError(
        _(
            "`{model}`, of model_type `{model_type}`, {why}; say which one it is with `--template "
            "FAMILY`; known are: {families}"
        ).format(model=model, model_type=config.model_type, why=why, families=joined(", ", load_families()))
    )


def find_family(model: Path) -> Family | None:
    """Return the family of the model in the folder `model`, or None where it is of none that is known."""
    return _best_match(model)[0]


def _read_config(file: Path) -> _Config:
    return load_json(
        read_text(file, _("model's config.json")),
        _Config,
        _("`{file}` is not what a model has there").format(file=file),
    )


def missing_tokens(model: Path, family: Family) -> list[str]:
    """Return the tokens of the family's prompts that the vocabulary in the folder `model` lacks; [] without one."""
    file = model / "config.json"
    vocabulary = _Vocabulary(model, _read_config(file))
    if not (vocabulary.quoted or vocabulary.raw):
        return []
    wanted = list(family.match.tokens)
    for prompt in (cell.prompt for cell in family.backends.values() if cell):
        segments = prompt.segments("system", [("question", "answer")])
        wanted += [segment.token for segment in segments if isinstance(segment, Token)]
        wanted += TOKEN_LIKE.findall(text_of(segments))
    return [token for token in dict.fromkeys(wanted) if not vocabulary.has(token)]


def writes_another_prompt(model: Path, family: Family) -> bool:
    """Tell whether the chat template in the folder `model` is of another prompt than the family's; not without one."""
    template = chat_templates.read_chat_template(model)
    return bool(template) and not _renders_same_prompt(family, template, model)


def _best_match(model: Path) -> tuple[Family | None, "_Config"]:
    file = model / "config.json"
    config = _read_config(file)
    vocabulary, template = _Vocabulary(model, config), chat_templates.read_chat_template(model)
    # A download in the Hugging Face cache lies in models--OWNER--NAME/snapshots/HASH.
    folder = model.resolve()
    titles = (folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name, config.name or "")

    def is_match(family: Family) -> bool:
        match = family.match
        return (
            (not match.model_type or config.model_type in match.model_type)
            and vocabulary.matches(match)
            and not (match.no_folder and any(re.search(match.no_folder, title, re.IGNORECASE) for title in titles))
            and _has_matching_template(family, template, model)
        )

    fitting = [family for family in load_families().values() if is_match(family)]
    named = [family for family in fitting if re.search(family.match.folder, titles[0], re.IGNORECASE)]
    return next(iter(named or fitting), None), config


class _Vocabulary:
    """The tokens of a model, searched in its files as bytes: decoding 10 MB of JSON would take a second."""

    def __init__(self, model: Path, config: _Config) -> None:
        self.size = config.padded_vocab_size or config.vocab_size
        files = [*map(model.joinpath, _TOKEN_FILES), *model.glob(_TOKENIZER_CODE)]
        self.quoted = [_read_bytes(file) for file in files if file.is_file()]
        raw = model / _SENTENCEPIECE_FILE
        self.raw = _read_bytes(raw) if raw.is_file() else b""

    def matches(self, match: Match) -> bool:
        if match.vocab_size and self.size and match.vocab_size != self.size:
            return False
        if not (self.quoted or self.raw):
            return bool(match.model_type)
        return all(map(self.has, match.tokens)) and not any(map(self.has, match.no_tokens))

    def has(self, token: str) -> bool:
        forms = {json.dumps(token, ensure_ascii=plain).encode() for plain in (True, False)}
        return token.encode() in self.raw or any(form in text for form in forms for text in self.quoted)


def _has_matching_template(family: Family, template: str, model: Path) -> bool:
    if not template:
        return True
    match = family.match
    lacks_text = any(text not in template for text in match.template)
    if lacks_text or any(text in template for text in match.no_template):
        return False
    return not match.renders or _renders_same_prompt(family, template, model)


def _renders_same_prompt(family: Family, template: str, model: Path) -> bool:
    """Tell whether the model's chat template renders the family's prompt; it may leave the answer's beginning out."""
    messages = [{"role": role, "content": f"The {role}'s words."} for role in ("system", "user", "assistant", "user")]
    system, one, answer, other = (message["content"] for message in messages)
    prompt = next(cell.prompt for cell in family.backends.values() if cell)
    bos = "".join(prompt.bos)  # which some tokenizers put there, and no template
    wanted = prompt.render(system, [(one, answer), (other, None)]).removeprefix(bos)
    shown = chat_templates.render_chat_template(template, messages, chat_templates.special_tokens(model)) or ""
    return shown.removeprefix(bos) in {wanted, wanted.removesuffix("<|im_start|>assistant\n")}


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(_("cannot read `{path}`: {strerror}").format(path=path, strerror=error.strerror)) from error
