"""Conversations read to turns, in each of the shapes of `formats`.

The user and the assistant take turns, the user first and the assistant last; a system message is the first.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.flags import (
    MEDIA,
    REASONING,
    TOOLS,
    answer_without,
    is_learned,
    key_kind,
    refuse_partial_masks,
    refuse_untrainable,
    thought_of,
)
from ftbridge.adapters.mapping.conversations.formats import (
    ALTERNATING,
    MOSS,
    MOSS_MESSAGE,
    OPENAI,
    PAIRS,
    STYLE_KEYS,
    TEXT_KEYS,
    XTUNER,
    conversation_items,
    message_keys,
    turn_keys,
)
from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, TOOL, USER, role_of
from ftbridge.adapters.mapping.conversations.taking_turns import TurnsSoFar
from ftbridge.adapters.mapping.conversations.tools import (
    CALL_KEYS,
    RESULT_KEYS,
    calls_as_json,
    calls_of,
    observation_of,
    refuse_other_tool_keys,
    result_text,
)
from ftbridge.adapters.mapping.headers import HEADERS, normalize_header
from ftbridge.adapters.values import LONGEST, BadValueError, checked_text, holds_nothing, is_blank, shorten
from ftbridge.core.errors import shell_words
from ftbridge.core.records import Beside, Turn, turn_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

TEXT_PART_TYPES = {None, "text", "input_text", "output_text"}
MOSS_OPENING, MOSS_CLOSING = re.compile(r"\s*<\|[^|<>]{1,20}\|>: ?"), re.compile(r"<eo[a-z]>\s*\Z")


class ConversationReader(msgspec.Struct, frozen=True, kw_only=True):
    """Reads conversations of a style; `roles` are names that the user explains, `tags` keys as LLaMA-Factory's."""

    style: str
    roles: dict[str, str] = {}
    tags: dict[str, str] = {}
    max_characters: int = LONGEST
    strip: bool = False

    def read(self, value: Any) -> tuple[str, list[Turn]]:
        """Return system prompt and turns; raises BadValueError for the first message or turn that is wrong."""
        value = conversation_items(value)
        if isinstance(value, str) and self.style == MOSS:
            return self.read_messages(_moss_messages(value))
        if not isinstance(value, list):
            raise BadValueError(_("is empty") if is_blank(value) else _("is not a list of messages"))
        if self.style in {PAIRS, ALTERNATING}:
            return "", self.read_pairs(value)
        if self.style in {XTUNER, MOSS} or self.style.startswith("turns"):
            return self._read_turns(value)
        return self.read_messages(value)

    def speakers(self, value: Any) -> list[str]:
        """Return the name of who speaks in each message, as it stands there; [] where some value is no message."""
        value = conversation_items(value)
        speakers = []
        for message in value if isinstance(value, list) else ():
            keys = message_keys(message, self.tags)
            if not keys:
                return []
            speakers.append(str(message[keys[0]]))
        return speakers

    def read_messages(self, value: Iterable[Any]) -> tuple[str, list[Turn]]:
        """Return system prompt and turns of messages; raises BadValueError for one that is wrong or out of turn."""
        so_far = TurnsSoFar()
        answers: list[dict[str, Any]] = []
        for number, message in enumerate(value, 1):
            try:
                if self._read_message(message, so_far) == ASSISTANT:
                    answers.append(message)
            except BadValueError as error:
                raise BadValueError(_("message {number} {error}").format(number=number, error=error)) from error
        system, turns = so_far.finish()
        refuse_partial_masks(answers)
        return system, turns

    def _read_message(self, message: Any, so_far: TurnsSoFar) -> str:
        """Add a message to the turns so far, and return its role; raises BadValueError where it is wrong or not due."""
        keys = message_keys(message, self.tags)
        if not keys:
            wanted = self.tags.get("role_tag"), self.tags.get("content_tag")
            for_role, for_text = wanted if all(wanted) else STYLE_KEYS.get(self.style, STYLE_KEYS[OPENAI])
            raise BadValueError(_("is not an object with `{role}` and `{text}`").format(role=for_role, text=for_text))
        role = self._known_role(str(message[keys[0]]), so_far)
        if role in {ASSISTANT, CALL}:
            self._read_answer(message, keys[1], role, so_far)
            return ASSISTANT
        refuse_untrainable(message, kinds=(MEDIA, REASONING))
        refuse_other_tool_keys(message, RESULT_KEYS if role == TOOL else set())
        so_far.refuse_out_of_turn(role)
        content = message.get(keys[1])
        text = self._checked_text(_join_parts(result_text(content) if role == TOOL else content))
        if role == USER and not text.strip():
            raise BadValueError(_("is empty"))
        if role == TOOL:
            so_far.add_observation(observation_of(message, text))
        else:
            so_far.add_text(role, text)
        return role

    def _known_role(self, name: str, so_far: TurnsSoFar) -> str:
        """Return the role of a name; raises BadValueError where it is unknown."""
        if role := role_of(name, self.roles):
            return role
        shown = shorten(name)
        option = shell_words([f"{shown}={so_far.due[-1]}"])
        raise BadValueError(
            _("has the unknown role `{shown}`; say whose it is, as in `--role {option}`").format(
                shown=shown, option=option
            )
        )

    def _read_answer(self, message: dict[str, Any], key: str, role: str, so_far: TurnsSoFar) -> None:
        """Add an answer, or a call of tools, to the turns so far; raises BadValueError."""
        refuse_untrainable(message, kinds=(MEDIA,))
        refuse_other_tool_keys(message, CALL_KEYS)
        learned = is_learned(message)
        so_far.refuse_out_of_turn(role)
        content = message.get(key)
        text, calls = "", ""
        if role == CALL:
            calls = calls_as_json(content)
        else:
            text, calls = self._checked_text(_join_parts(content)), calls_of(message)
        if not calls and not text.strip():
            raise BadValueError(_("is empty"))
        text, thought = self._thought_beside(message, text)
        so_far.add_answer(text, train=learned, thought=thought, calls=calls)

    def _thought_beside(self, item: Mapping[str, Any], answer: str) -> tuple[str, str]:
        """Return an answer and the thought beside it; raises BadValueError where another stands in the answer."""
        thought = thought_of(item, self.max_characters)
        return answer_without(thought, answer), thought.strip() if self.strip else thought

    def _read_turns(self, value: list[Any]) -> tuple[str, list[Turn]]:
        """Return system prompt and turns of objects that hold a turn each; raises BadValueError for a wrong one."""
        system = ""
        turns: list[Turn] = []
        for number, turn in enumerate(value, 1):
            try:
                own_system, read = self._read_turn(turn, system if turns else None)
            except BadValueError as error:
                raise BadValueError(_("turn {number} {error}").format(number=number, error=error)) from error
            system = system or own_system
            turns.append(read)
        if not turns:
            raise BadValueError(_("holds no question and answer"))
        refuse_partial_masks(value)
        return system, turns

    def _read_turn(self, turn: Any, before: str | None) -> tuple[str, Turn]:
        """Return the system prompt of a turn, which must be the one of the turns `before`, and the turn."""
        keys = self._question_and_answer_keys(turn)
        if self.style == MOSS:
            turn = {key: _moss_section(each) for key, each in turn.items()}
        refuse_untrainable(turn, kinds=(TOOLS, MEDIA))
        question, answer = (self._checked_text(_join_parts(turn[key])) for key in keys)
        system = self._checked_text(next((turn[key] for key in turn if normalize_header(key) in HEADERS["system"]), ""))
        if before is not None and system not in {"", before}:
            raise BadValueError(_("has a system prompt of its own"))
        if not question.strip():
            raise BadValueError(_("has an empty {key}").format(key=keys[0]))
        if not answer.strip():
            raise BadValueError(_("has an empty {key}").format(key=keys[1]))
        more = (turn[key] for key in turn if key not in keys and normalize_header(key) in HEADERS["input"])
        answer, thought = self._thought_beside(turn, answer)
        beside = Beside(train=is_learned(turn), thought=thought)
        return system, turn_of(question, self._checked_text(next(more, "")), answer, beside)

    def _question_and_answer_keys(self, turn: Any) -> tuple[str, str]:
        """Return the keys of question and answer in a turn; raises BadValueError where it has none, or several."""
        keys = turn_keys(turn, self.roles)
        if keys and (self.style != XTUNER or keys == STYLE_KEYS[XTUNER]):
            return keys
        due = STYLE_KEYS[XTUNER] if self.style == XTUNER else self.style.removeprefix("turns of ").split("/")
        raise BadValueError(
            _("is not an object with {due}").format(due=joined(_(" and "), (f"`{key}`" for key in due)))
        )

    def read_pairs(self, value: list[Any]) -> list[Turn]:
        """Return the turns of pairs of question and answer, or of texts in turn; raises BadValueError."""
        size = 2  # a question and its answer
        if value and not any(isinstance(each, (list, dict)) for each in value):
            if len(value) % size:
                raise BadValueError(_("ends with a question: it holds an odd number of texts"))
            value = [value[at : at + size] for at in range(0, len(value), size)]
        if not value or not all(isinstance(pair, list) and len(pair) == size for pair in value):
            raise BadValueError(_("is not a list of [question, answer] pairs"))
        texts = [[self._checked_text(text) for text in pair] for pair in value]
        if not all(text.strip() for pair in texts for text in pair):
            raise BadValueError(_("has an empty question or answer"))
        return [Turn(question, "", answer) for question, answer in texts]

    def read_system(self, value: Any) -> str:
        """Return a system prompt, which may stand in a message of its own, as Gemini's; raises BadValueError."""
        key = next((key for key in TEXT_KEYS if key in value), "") if isinstance(value, dict) else ""
        return self._checked_text(_join_parts(value[key]) if key else value)

    def _checked_text(self, value: Any) -> str:
        """Return a text that can be written; raises BadValueError where there is none, or it is too long."""
        return checked_text(value, self.max_characters, strip=self.strip)


def _join_parts(content: Any) -> Any:
    """Return a message's content, put together where it is parts; raises BadValueError for images."""
    if not isinstance(content, list):
        return content
    return "".join(map(_part_text, content))


def _part_text(part: Any) -> str:
    """Return the text of a part: `{"type": "text", "text": "..."}`, in LLaMA-Factory v1 `"value"`."""
    kind = part.get("type") if isinstance(part, dict) else part
    if not isinstance(part, dict) or kind not in TEXT_PART_TYPES or (kind is None and len(part) > 1):
        raise BadValueError(_("holds a part `{kind}`; only text can be trained on yet").format(kind=shorten(kind)))
    for key in ("text", "value", "content"):
        if isinstance(text := part.get(key), str):
            return text
    raise BadValueError(_("holds a part `{kind}` without `text` or `value`").format(kind=shorten(kind or part)))


def _moss_messages(text: str) -> list[dict[str, str]]:
    """Return the messages of MOSS's `[Human]: ...<eoh> [MOSS]: ...<eoa>`, each with the thought before it.

    Raises BadValueError for tools, and for other text in it.
    """
    messages: list[dict[str, str]] = []
    thought: dict[str, str] = {}
    at = 0
    while match := MOSS_MESSAGE.match(text, at):
        name, content, at = match[1] or match[2], match[3], match.end()
        if role_of(name, {}) in {USER, ASSISTANT}:
            messages.append({"role": name, "content": content, **thought})
            thought = {}
        elif key_kind(name) == REASONING:
            thought = {name: content}
        elif not holds_nothing(content):
            raise BadValueError(_("has `{name}`: tools cannot be trained on there").format(name=name))
    if text[at:].strip():
        raise BadValueError(_("holds `{text}` after the text").format(text=shorten(text[at:].strip(), 20)))
    return messages


def _moss_section(text: Any) -> Any:
    """Return what stands between MOSS's marks, as in `<|MOSS|>: ...<eom>`."""
    if not isinstance(text, str) or not (opened := MOSS_OPENING.match(text)):
        return text
    closed = MOSS_CLOSING.search(text, opened.end())
    return text[opened.end() : closed.start() if closed else len(text)]
