"""The prompt of a model family: the text and tokens around system prompt, questions and answers, also as Jinja."""

import json
from collections.abc import Sequence
from string import Formatter
from typing import Any

import msgspec

from ftbridge.language import gettext as _


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token, to be looked up by its name instead of encoding the text."""

    token: str


Segment = str | Token
PromptText = str | tuple[Segment, ...]  # with the fields of str.format


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="upper"):
    """How a conversation becomes text, in XTuner's words; the head of families.yaml explains the keys."""

    instruction: PromptText
    system: PromptText
    suffix: str = ""
    suffix_as_eos: bool = False
    sep: str = ""
    stop_words: tuple[str, ...] = ()
    bos: tuple[str, ...] = ()
    eos: str = ""
    answer: PromptText = "{output}"
    system_inside: bool = False

    def __post_init__(self) -> None:
        if bool(self.eos) is self.suffix_as_eos:
            raise ValueError(_("EOS is given exactly where SUFFIX_AS_EOS is false"))
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
        """Return the conversation in the segments that training encodes.

        Encode each by itself, without special tokens, and put the ids one after another: the whole text at
        once may give others. A last answer of None leaves the prompt open, as for chat; an empty `system` is
        none.
        """
        result: list[Segment] = []
        for number, (question, answer) in enumerate(turns, 1):
            if number == 1 or not self.suffix_as_eos:
                result += map(Token, self.bos)
            result += self._question(question, system if number == 1 else "", number)
            if answer is None:
                break
            result += _join_segments(_format_text(self.answer, output=answer), (self.suffix,))
            if self.eos:
                result.append(Token(self.eos))
            result.append(self.sep)
        return [segment for segment in result if segment]

    def _question(self, question: str, system: str, number: int) -> tuple[Segment, ...]:
        """Return the segments of the user's turn `number`, from 1, with those of the system prompt before or in it."""
        opening = _format_text(self.system, system=system) if system else ()
        if self.system_inside:
            return _format_text(self.instruction, input=text_of(opening) + question, round=number)
        return _join_segments(opening, _format_text(self.instruction, input=question, round=number))

    def render(self, system: str, turns: Sequence[tuple[str, str | None]]) -> str:
        """Return the conversation as one text, to look at; `segments` is what to encode."""
        return text_of(self.segments(system, turns))

    def chat_template(self) -> str:
        """Return the Jinja template with which transformers renders the same conversation; a prompt is always open."""
        content = "{{ message['content'] }}"
        system = "{% if loop.first and system %}" + _jinja_text(self.system, system="system") + "{% endif %}"
        user = _jinja_text(self.instruction, input="message['content']", round="loop.index0 // 2 + 1")
        user = user.replace(content, system + content) if self.system_inside else system + user
        if begin := "".join(self.bos):
            begin = _jinja_text(begin)
            if self.suffix_as_eos:
                begin = "{% if loop.first %}" + begin + "{% endif %}"
        answer = _jinja_text(self.answer, output="message['content']") + _jinja_text(self.suffix + self.eos + self.sep)
        return (
            "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
            "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
            "{% for message in messages %}{% if message['role'] == 'user' %}"
            + begin + user + "{% elif message['role'] == 'assistant' %}" + answer + "{% endif %}{% endfor %}"
        )  # fmt: skip


def _check_fields(given: PromptText, *known: str) -> None:
    """Raise ValueError for a field that is none of these by itself: a prompt may come with a folder.

    `{input.__class__}` or `{input:>9999999999}` would be obeyed, and what NUL sets off would be Jinja's.
    """
    texts = [text for text in _as_segments(given) if isinstance(text, str)]
    if any("\0" in text for text in texts):
        raise ValueError(_("a prompt holds no NUL"))
    for text in texts:
        for _unused, field, form, conversion in Formatter().parse(text):
            if field is not None and (field not in known or form or conversion):
                raise ValueError(_("`{text}` has a field that no prompt has").format(text=text))


def _as_segments(text: PromptText) -> tuple[Segment, ...]:
    return (text,) if isinstance(text, str) else text


def _format_text(text: PromptText, **values: object) -> tuple[Segment, ...]:
    return tuple(part if isinstance(part, Token) else part.format(**values) for part in _as_segments(text))


def _jinja_text(text: PromptText, **names: str) -> str:
    """Return Jinja for `text`, each of its fields being the expression of that name."""
    jinja = text_of(_format_text(text, **{field: f"\0{expression}\0" for field, expression in names.items()}))
    parts = jinja.split("\0")
    shown = [part if number % 2 else json.dumps(part, ensure_ascii=False) for number, part in enumerate(parts)]
    return "".join("{{ " + part + " }}" for part in shown if part != '""')


def _join_segments(left: tuple[Segment, ...], right: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return both, with two texts that meet as one: training encodes them together."""
    if left and right and isinstance(left[-1], str) and isinstance(right[0], str):
        return (*left[:-1], left[-1] + right[0], *right[1:])
    return left + right


def text_of(segments: Sequence[Segment]) -> str:
    """Return segments as one text, each token by its name."""
    return "".join(part.token if isinstance(part, Token) else part for part in segments)
