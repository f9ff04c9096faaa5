"""Model families: the prompt a model was trained on, its name on either backend, and how it is told.

`detect` names the family of a model folder without importing a framework; `Family.cell` gives what a backend
needs, and `Prompt.segments` the very tokens it trains, so that chat asks as training did. The facts
themselves, with their reasons, stand in families.yaml.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import closest, load_json, load_yaml, parse
from ftbridge.templates import chat_templates

# Where a vocabulary's tokens can be read as text, JSON files first; the code of ChatGLM3 names its own.
_JSON = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
)
_RAW = "tokenizer.model"
_CODE = "tokenization_*.py"
# What looks like a token in a prompt.
_MARK = re.compile(r"<\|[^<>|]+\|>")


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token, to be looked up by its name instead of encoding the text."""

    token: str


Segment = str | Token
Piece = str | tuple[Segment, ...]
Record = TypeVar("Record")


class Prompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="upper"):
    """How a conversation becomes text, in XTuner's words; the head of families.yaml explains the keys."""

    instruction: Piece
    system: Piece
    suffix: str = ""
    suffix_as_eos: bool = False
    sep: str = ""
    stop_words: tuple[str, ...] = ()
    bos: tuple[str, ...] = ()
    eos: str = ""
    answer: Piece = "{output}"
    system_inside: bool = False

    def __post_init__(self) -> None:
        if bool(self.eos) is self.suffix_as_eos:
            raise ValueError("EOS is given exactly where SUFFIX_AS_EOS is false")
        _check_fields(self.system, "system")
        _check_fields(self.instruction, "input", "round")
        _check_fields(self.answer, "output")
        _check_fields((self.suffix, self.sep, self.eos, *self.bos))

    def template_dict(self) -> dict[str, Any]:
        """Return the entry that XTuner's PROMPT_TEMPLATE would have for this prompt."""
        values = {
            "SYSTEM": self.system,
            "INSTRUCTION": self.instruction,
            "SUFFIX": self.suffix,
            "SUFFIX_AS_EOS": self.suffix_as_eos,
            "SEP": self.sep,
            "STOP_WORDS": list(self.stop_words),
        }
        return {key: value for key, value in values.items() if value}

    def segments(self, system: str, turns: Sequence[tuple[str, str | None]]) -> list[Segment]:
        """Return the conversation in the pieces that training encodes.

        Encode each by itself, without special tokens, and put the ids one after another: the whole text at
        once may give others. A last answer of None leaves the prompt open, as for chat; an empty `system` is
        none.
        """
        result: list[Segment] = []
        for number, (question, answer) in enumerate(turns, 1):
            opening: tuple[Segment, ...] = ()
            if number == 1 and system:
                opening = _fill(self.system, system=system)
                if self.system_inside:
                    opening, question = (), _text(opening) + question  # noqa: PLW2901
            if number == 1 or not self.suffix_as_eos:
                result += map(Token, self.bos)
            result += _join(opening, _fill(self.instruction, input=question, round=number))
            if answer is None:
                break
            result += _join(_fill(self.answer, output=answer), (self.suffix,))
            result += [Token(self.eos)] if self.eos else []
            result += [self.sep]
        return [segment for segment in result if segment]

    def render(self, system: str, turns: Sequence[tuple[str, str | None]]) -> str:
        """Return the conversation as one text, to look at; `segments` is what to encode."""
        return _text(self.segments(system, turns))

    def chat_template(self) -> str:
        """Return the Jinja template with which transformers renders the same conversation; a prompt is always open."""
        content = "{{ message['content'] }}"
        system = "{% if loop.first and system %}" + _jinja(self.system, system="system") + "{% endif %}"
        user = _jinja(self.instruction, input="message['content']", round="loop.index0 // 2 + 1")
        user = user.replace(content, system + content) if self.system_inside else system + user
        if begin := "".join(self.bos):
            begin = _jinja(begin) if not self.suffix_as_eos else "{% if loop.first %}" + _jinja(begin) + "{% endif %}"
        answer = _jinja(self.answer, output="message['content']") + _jinja(self.suffix + self.eos + self.sep)
        return (
            "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
            "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
            "{% for message in messages %}{% if message['role'] == 'user' %}"
            + begin + user + "{% elif message['role'] == 'assistant' %}" + answer + "{% endif %}{% endfor %}"
        )  # fmt: skip


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one backend needs for a family.

    `name` is the backend's own template, or "" where XTuner gets `prompt.template_dict()` instead.
    """

    prompt: Prompt
    name: str = ""
    enable_thinking: bool | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a family is told, in the order that counts; the head of families.yaml explains the keys."""

    model_type: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    no_tokens: tuple[str, ...] = ()
    vocab_size: int | None = None
    template: tuple[str, ...] = ()
    no_template: tuple[str, ...] = ()
    renders: bool = False
    folder: str
    no_folder: str = ""


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model family. `stop` are the tokens that end an answer; `reason` says why it has its `status`."""

    name: str = ""
    title: str
    match: Match
    backends: dict[str, Cell | None]
    stop: tuple[str, ...]
    thinking: Literal["off", "none"]
    status: Literal["trained", "rendered", "unsupported"]
    reason: str

    def cell(self, backend: str) -> Cell:
        """Return what `backend` needs; raises UsageError for an empty cell, naming a backend that has one."""
        found = self.backends.get(backend)
        if found is None:
            having = " or ".join(f"`--backend {name}`" for name, cell in self.backends.items() if cell)
            raise UsageError(f"`{backend}` has no template for {self.title}; use {having}")
        return found


class _Table(msgspec.Struct, frozen=True):
    families: dict[str, Family]
    prompts: dict[str, Prompt]


@cache
def load() -> dict[str, Family]:
    """Return all families by name, in the order of families.yaml."""
    text = files("ftbridge.templates").joinpath("families.yaml").read_text(encoding="utf-8")
    table = parse(_Table, load_yaml(text, "families.yaml"), "families.yaml")
    return {name: replace(family, name=name) for name, family in table.families.items()}


def get(name: str) -> Family:
    """Return the family called `name`, in any case, or whose template a framework calls so.

    A template of several families counts where they have the same prompts (`qwen`). Raises UsageError for
    any other name.
    """
    wanted = name.strip().lower()
    if wanted in load():
        return load()[wanted]
    having = [
        family
        for family in load().values()
        if any(cell and cell.name.lower() == wanted for cell in family.backends.values())
    ]
    if having and all(_prompts(family) == _prompts(having[0]) for family in having):
        return having[0]
    if having:
        several = ", ".join(family.name for family in having)
        raise UsageError(f"`{name}` is the template of several families; choose one of: {several}")
    raise UsageError(f"there is no model family `{name}`{closest(wanted, load())}")


class _Config(msgspec.Struct):
    model_type: str | None = None
    vocab_size: int | None = None
    padded_vocab_size: int | None = None
    name: str | None = msgspec.field(default=None, name="_name_or_path")


def detect(model: Path) -> Family:
    """Return the family of the model in the folder `model`.

    Raises InputError where there is no readable config.json, or where what it says fits no family.
    """
    found, config = _found(model)
    if found:
        return found
    near = ", ".join(family.title for family in load().values() if config.model_type in family.match.model_type)
    why = f"has vocabulary, chat template or name of neither {near}" if near else "is of no known family"
    raise InputError(
        f"`{model}`, of model_type `{config.model_type}`, {why}; "
        f"say which one it is with `--template FAMILY`; known are: {', '.join(load())}"
    )


def find(model: Path) -> Family | None:
    """Return the family of the model in the folder `model`, or None where it is of none that is known."""
    return _found(model)[0]


def _config(file: Path) -> _Config:
    return load_json(read_text(file, "model's config.json"), _Config, f"`{file}` is not what a model has there")


def lacking(model: Path, family: Family) -> list[str]:
    """Return the tokens of the family's prompts that the vocabulary in the folder `model` has not; [] without one."""
    file = model / "config.json"
    vocabulary = _Vocabulary(model, _config(file))
    if not (vocabulary.quoted or vocabulary.raw):
        return []
    wanted = list(family.match.tokens)
    for prompt in (cell.prompt for cell in family.backends.values() if cell):
        segments = prompt.segments("system", [("question", "answer")])
        wanted += [segment.token for segment in segments if isinstance(segment, Token)]
        wanted += _MARK.findall(_text(segments))
    return [token for token in dict.fromkeys(wanted) if not vocabulary.has(token)]


def _found(model: Path) -> tuple[Family | None, "_Config"]:
    file = model / "config.json"
    config = _config(file)
    vocabulary, template = _Vocabulary(model, config), chat_templates.read(model)
    # A download in the Hugging Face cache lies in models--OWNER--NAME/snapshots/HASH.
    folder = model.resolve()
    titles = (folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name, config.name or "")

    def fits(family: Family) -> bool:
        match = family.match
        return (
            (not match.model_type or config.model_type in match.model_type)
            and vocabulary.fits(match)
            and not (match.no_folder and any(re.search(match.no_folder, title, re.IGNORECASE) for title in titles))
            and _template_fits(family, template, model)
        )

    fitting = [family for family in load().values() if fits(family)]
    named = [family for family in fitting if re.search(family.match.folder, titles[0], re.IGNORECASE)]
    return next(iter(named or fitting), None), config


class _Vocabulary:
    """The tokens of a model, searched in its files as bytes: decoding 10 MB of JSON would take a second."""

    def __init__(self, model: Path, config: _Config) -> None:
        self.size = config.padded_vocab_size or config.vocab_size
        self.quoted = [_bytes(path) for path in (*map(model.joinpath, _JSON), *model.glob(_CODE)) if path.is_file()]
        self.raw = _bytes(model / _RAW) if (model / _RAW).is_file() else b""

    def fits(self, match: Match) -> bool:
        if match.vocab_size and self.size and match.vocab_size != self.size:
            return False
        if not (self.quoted or self.raw):
            return bool(match.model_type)
        return all(map(self.has, match.tokens)) and not any(map(self.has, match.no_tokens))

    def has(self, token: str) -> bool:
        forms = {json.dumps(token, ensure_ascii=plain).encode() for plain in (True, False)}
        return token.encode() in self.raw or any(form in text for form in forms for text in self.quoted)


def _template_fits(family: Family, template: str, model: Path) -> bool:
    if not template:
        return True
    has, match = template.__contains__, family.match
    if not all(map(has, match.template)) or any(map(has, match.no_template)):
        return False
    return not match.renders or _renders(family, template, model)


def _renders(family: Family, template: str, model: Path) -> bool:
    """Tell whether the model's chat template writes the family's prompt; it may leave the answer's beginning out."""
    messages = [{"role": role, "content": f"The {role}'s words."} for role in ("system", "user", "assistant", "user")]
    system, one, answer, other = (message["content"] for message in messages)
    prompt = next(cell.prompt for cell in family.backends.values() if cell)
    wanted = prompt.render(system, [(one, answer), (other, None)])
    shown = chat_templates.render(template, messages, chat_templates.special_tokens(model))
    return bool(shown) and shown in {wanted, wanted.removesuffix("<|im_start|>assistant\n")}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror}") from error


def _prompts(family: Family) -> dict[str, Prompt | None]:
    return {backend: cell.prompt if cell else None for backend, cell in family.backends.items()}


def _check_fields(piece: Piece, *known: str) -> None:
    """Raise ValueError for a field that is none of these by itself: a prompt may come with a folder.

    `{input.__class__}` or `{input:>9999999999}` would be obeyed, and what NUL sets off would be Jinja's.
    """
    for text in (piece,) if isinstance(piece, str) else piece:
        if isinstance(text, str):
            for _, field, form, conversion in Formatter().parse(text):
                if field is not None and (field not in known or form or conversion):
                    raise ValueError(f"`{text}` has a field that no prompt has")
            if "\0" in text:
                raise ValueError("a prompt holds no NUL")


def _fill(piece: Piece, **values: object) -> tuple[Segment, ...]:
    parts = (piece,) if isinstance(piece, str) else piece
    return tuple(part if isinstance(part, Token) else part.format(**values) for part in parts)


def _jinja(piece: Piece, **names: str) -> str:
    """Return Jinja for `piece`, each of its fields being the expression of that name."""
    text = _text(_fill(piece, **{field: f"\0{expression}\0" for field, expression in names.items()}))
    parts = text.split("\0")
    shown = [part if number % 2 else json.dumps(part, ensure_ascii=False) for number, part in enumerate(parts)]
    return "".join("{{ " + part + " }}" for part in shown if part != '""')


def _join(left: tuple[Segment, ...], right: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Put two texts that meet into one: training encodes them together."""
    if left and right and isinstance(left[-1], str) and isinstance(right[0], str):
        return (*left[:-1], left[-1] + right[0], *right[1:])
    return left + right


def _text(segments: Sequence[Segment]) -> str:
    return "".join(part.token if isinstance(part, Token) else part for part in segments)
