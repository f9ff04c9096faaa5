"""Conversations in the shapes that datasets give them, and how each is read.

    [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]    OpenAI messages
    [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]             ShareGPT conversations
    [{"system": "...", "input": "...", "output": "..."}]                             XTuner conversations
    [{"speaker": "user", "text": "..."}, ...]                                        messages under other keys
    [{"human": "...", "assistant": "..."}, ...]                                      turns under other keys
    [["question", "answer"], ...], ["question", "answer", ...]                       turns without keys
    {"turn_1": {"Human": "<|Human|>: ...<eoh>", "MOSS": "<|MOSS|>: ...<eom>"}}       MOSS, and its text

The user and the assistant take turns, the user first and the assistant last; a system message is the first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.flags import (
    MEDIA,
    REASONING,
    TOOLS,
    answer_without,
    is_learned,
    refuse_partial_masks,
    refuse_untrainable,
    thought_of,
)
from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, ROLES, SYSTEM, TOOL, USER, role_of
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
from ftbridge.adapters.values import LONGEST, BadValueError, checked_text, holds_nothing, is_blank, parse_list, shorten
from ftbridge.core.errors import shell_words
from ftbridge.core.records import Beside, Turn, turn_of

OPENAI, SHAREGPT, XTUNER = "OpenAI messages", "ShareGPT conversations", "XTuner conversations"
STYLE_KEYS = {OPENAI: ("role", "content"), SHAREGPT: ("from", "value"), XTUNER: ("input", "output")}
PAIRS, ALTERNATING, MOSS = "pairs of question and answer", "questions and answers in turn", "MOSS conversations"
# Other keys of a message, the better ones first.
ROLE_KEYS = ("role", "from", "speaker", "sender", "author", "角色")
TEXT_KEYS = ("content", "value", "text", "message", "utterance", "markdown", "parts", "body", "msg", "内容")
# Keys of a turn; of those that are not in the first two, it takes a column that is called a conversation to tell that
# the turns go on from each other.
USER_KEYS = {name for name, role in ROLES.items() if role == USER}
ASSISTANT_KEYS = {name for name, role in ROLES.items() if role == ASSISTANT}
QUESTION_KEYS, ANSWER_KEYS = {*USER_KEYS, *HEADERS["instruction"], "input"}, {*ASSISTANT_KEYS, *HEADERS["output"]}
CONVERSATION_HEADER = re.compile(
    r"\b(messages?|conversations?|dialog(ue)?s?|chats?|turns?|rounds?|multi ?turn|threads?|history)\b"
    "|对话|会话|多轮|聊天|历史|消息"
)
CONVERSATION_ID = re.compile(
    r"\b(conversation|conv|session|dialog(ue)?|thread|chat|tree|group|sample|case)\b|会话|对话|编号"
)
NUMBERED = re.compile(r"(\D{0,20})(\d{1,6})")
TEXT_PART_TYPES = {None, "text", "input_text", "output_text"}
MOSS_OPENING, MOSS_CLOSING = re.compile(r"\s*<\|[^|<>]{1,20}\|>: ?"), re.compile(r"<eo[a-z]>\s*\Z")
MOSS_MESSAGE = re.compile(r"\s*(?:\[([A-Za-z]{1,10})\]|<\|([A-Za-z ]{1,20})\|>): ?(.*?)<eo[a-z]>\s*", re.DOTALL)


def conversation_items(value: Any) -> Any:
    """Return the messages, turns or pairs that `value` holds, as a list or as JSON text; anything else as it is.

    `{"turn_1": {...}, "turn_2": {...}}` is the list of its values, `{"role": [...], "content": [...]}`, as
    `datasets` writes a sequence of features, the list of its messages.
    """
    value = parse_list(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            value = msgspec.json.decode(value)
    if isinstance(value, list):
        return _messages_keyed_by_role(value) or value
    if isinstance(value, dict):
        return _numbered_turns(value) or _messages_of_columns(value) or value
    return value


def _numbered_turns(value: dict[str, Any]) -> list[Any]:
    """Return the values under `turn_1`, `turn_2` and so on in order; [] where a key is no number of the same series."""
    matches = [match for match in map(NUMBERED.fullmatch, value) if match]
    if len(matches) < len(value) or len({match[1] for match in matches}) != 1:
        return []
    if not all(isinstance(each, (dict, list)) for each in value.values()):
        return []
    return [value[match[0]] for match in sorted(matches, key=lambda match: int(match[2]))]


def _messages_of_columns(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of `{"role": [...], "content": [...]}`; [] where it is no such object."""
    if not message_keys(value, {}) or not all(isinstance(each, list) for each in value.values()):
        return []
    if len({len(each) for each in value.values()}) != 1:
        return []
    return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]


def _messages_keyed_by_role(value: list[Any]) -> list[dict[str, Any]]:
    """Return the messages that name their role alone: `["user", "..."]` or `{"user": "..."}` each; [] for others."""
    if len(value) <= 1 or (isinstance(value[0], dict) and len(value[0]) > 1):  # as most messages
        return []
    pairs = _roles_and_contents(value)
    roles = {role_of(name, {}) for name, _ in pairs}
    if "" in roles or not {USER, ASSISTANT} <= roles:
        return []
    return [{"role": name, "content": content} for name, content in pairs]


def _roles_and_contents(value: list[Any]) -> list[tuple[str, Any]]:
    """Return the two halves of each `["user", "..."]` or `{"user": "..."}`; [] where some element is neither."""
    if all(isinstance(each, dict) and len(each) == 1 for each in value):
        return [item for each in value for item in each.items()]
    pair = 2
    if all(isinstance(each, list) and len(each) == pair and isinstance(each[0], str) for each in value):
        return [(each[0], each[1]) for each in value]
    return []


def message_keys(message: Any, tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the keys of who speaks and of the text, None where it is no message; `tags` are as LLaMA-Factory's."""
    if not isinstance(message, dict):
        return None
    if tags.get("role_tag"):
        return (tags["role_tag"], tags["content_tag"]) if tags["role_tag"] in message else None
    speaker = next((key for key in ROLE_KEYS if key in message), "")
    if not speaker:
        return None
    texts = ("value", *TEXT_KEYS) if speaker == "from" else TEXT_KEYS
    filled = next((key for key in texts if message.get(key) not in (None, "")), "")
    return speaker, filled or next((key for key in texts if key in message), texts[0])


def turn_keys(turn: Any, roles: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the keys of question and answer in a turn, None where it is none, or has several."""
    if not isinstance(turn, dict):
        return None
    headers = {key: normalize_header(key) for key in turn}
    questions = [key for key in turn if roles.get(key) == USER or headers[key] in QUESTION_KEYS]
    answers = [key for key in turn if roles.get(key) == ASSISTANT or headers[key] in ANSWER_KEYS]
    if len(questions) > 1:  # further text of the question, as in Alpaca
        questions = [key for key in questions if headers[key] != "input"]
    return (questions[0], answers[0]) if len(questions) == len(answers) == 1 else None


def style_of(value: Any, roles: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> str:
    """Return the style of conversation that `value` may be, "" for none; see `is_surely_conversation`."""
    value = conversation_items(value)
    if isinstance(value, str):
        return MOSS if MOSS_MESSAGE.match(value) else ""
    if not isinstance(value, list) or not value:
        return ""
    if all(isinstance(each, dict) for each in value):
        return _message_style(value, roles or {}, tags or {}) or ("" if tags else _turn_style(value[0], roles or {}))
    return _keyless_style(value)


def _message_style(value: list[dict[str, Any]], roles: Mapping[str, str], tags: Mapping[str, str]) -> str:
    first = value[0]
    if not tags:
        for style in (OPENAI, SHAREGPT):
            if first.keys() >= {*STYLE_KEYS[style]}:
                return style
    keys = message_keys(first, tags)
    if not keys or keys[1] not in first:
        return ""
    return _style_name(*keys) if tags or _names_take_turns([message.get(keys[0]) for message in value], roles) else ""


def _turn_style(turn: dict[str, Any], roles: Mapping[str, str]) -> str:
    keys = turn_keys(turn, roles)
    if not keys or keys == STYLE_KEYS[XTUNER]:
        return XTUNER if keys else ""
    return MOSS if normalize_header(keys[1]) == "moss" else _style_name(*keys, what="turns")


def wants_answer(value: Any, roles: Mapping[str, str], tags: Mapping[str, str], *, unknown: bool) -> bool:
    """Tell whether messages end with the user's, or somebody `unknown` where that may be, as in TRL's prompts."""
    value = conversation_items(value)
    keys = message_keys(value[-1], tags) if isinstance(value, list) and value else None
    return keys is not None and role_of(str(value[-1][keys[0]]), roles) in {USER, *([""] if unknown else [])}


def _style_name(first: str, second: str, what: str = "messages") -> str:
    return f"{what} of {first}/{second}"


def _keyless_style(value: list[Any]) -> str:
    size = 2  # a question and its answer
    if all(isinstance(each, str) and each.strip() for each in value):
        return "" if len(value) % size else ALTERNATING
    pairs = all(isinstance(each, list) and len(each) == size for each in value)
    return PAIRS if pairs and all(isinstance(text, str) for pair in value for text in pair) else ""


def _names_take_turns(names: Sequence[Any], roles: Mapping[str, str]) -> bool:
    """Tell whether names are those of who speaks: all of them known, or two that alternate."""
    if not all(isinstance(name, (str, int)) for name in names):
        return False
    known = [role_of(str(name), roles) for name in names]
    if all(known):
        return True
    sides = [str(name) for name, role in zip(names, known, strict=True) if role != SYSTEM]
    both = 2
    return len(set(sides)) == both and all(one != other for one, other in pairwise(sides))


def is_conversation_header(column: str) -> bool:
    """Tell whether a header is one of conversations, such as `dialogue` or `多轮对话`."""
    return bool(CONVERSATION_HEADER.search(normalize_header(column)))


def is_surely_conversation(column: str, style: str, roles: Mapping[str, str] | None = None) -> bool:
    """Tell whether what may be a conversation of this style is one in a column of this name.

    `[{"question": ..., "answer": ...}, ...]` may as well be questions that have nothing to do with each other.
    """
    if is_conversation_header(column) or (style == ALTERNATING and normalize_header(column) == "data"):
        return True
    if style in {XTUNER, PAIRS, ALTERNATING}:
        return False
    if style.startswith("turns"):
        keys = style.removeprefix("turns of ").split("/")
        return all(normalize_header(key) in USER_KEYS | ASSISTANT_KEYS or key in (roles or {}) for key in keys)
    return bool(style)


def is_one_conversation(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether rows are the messages of one conversation, one a row, rather than samples."""
    keys = message_keys(messages[0], {}) if messages else None
    if not keys or not all(message.keys() >= {*keys} for message in messages):
        return False
    names = [message[keys[0]] for message in messages]
    if len(names) < len(STYLE_KEYS[OPENAI]) or not _names_take_turns(names, {}):
        return False
    if any(_separates_conversations(key, messages) for key in messages[0]):
        return False
    roles = [role_of(str(name), {}) for name in names]
    sides = [role for role in roles if role != SYSTEM]
    return sides[0] == "" or (sides[0] == USER and ASSISTANT in sides)


def _separates_conversations(key: str, messages: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a key says that messages are of several conversations, or of a tree of them."""
    name = normalize_header(key)
    if name in {"parent id", "message tree id"}:
        return True
    return bool(CONVERSATION_ID.search(name)) and len({shorten(message.get(key)) for message in messages}) > 1


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
            raise BadValueError("is empty" if is_blank(value) else "is no list of messages")
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
                raise BadValueError(f"message {number} {error}") from error
        system, turns = so_far.finish()
        refuse_partial_masks(answers)
        return system, turns

    def _read_message(self, message: Any, so_far: TurnsSoFar) -> str:
        """Add a message to the turns so far, and return its role; raises BadValueError where it is wrong or not due."""
        keys = message_keys(message, self.tags)
        if not keys:
            wanted = self.tags.get("role_tag"), self.tags.get("content_tag")
            for_role, for_text = wanted if all(wanted) else STYLE_KEYS.get(self.style, STYLE_KEYS[OPENAI])
            raise BadValueError(f"is no object with `{for_role}` and `{for_text}`")
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
            raise BadValueError("is empty")
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
        raise BadValueError(f"has the unknown role `{shown}`; say whose it is, as in `--role {option}`")

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
            raise BadValueError("is empty")
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
                raise BadValueError(f"turn {number} {error}") from error
            system = system or own_system
            turns.append(read)
        if not turns:
            raise BadValueError("holds no question and answer")
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
            raise BadValueError("has a system prompt of its own")
        if not question.strip():
            raise BadValueError(f"has an empty {keys[0]}")
        if not answer.strip():
            raise BadValueError(f"has an empty {keys[1]}")
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
        raise BadValueError(f"is no object with {' and '.join(f'`{key}`' for key in due)}")

    def read_pairs(self, value: list[Any]) -> list[Turn]:
        """Return the turns of pairs of question and answer, or of texts in turn; raises BadValueError."""
        size = 2  # a question and its answer
        if value and not any(isinstance(each, (list, dict)) for each in value):
            if len(value) % size:
                raise BadValueError("ends with a question: it holds an odd number of texts")
            value = [value[at : at + size] for at in range(0, len(value), size)]
        if not value or not all(isinstance(pair, list) and len(pair) == size for pair in value):
            raise BadValueError("is no list of [question, answer] pairs")
        texts = [[self._checked_text(text) for text in pair] for pair in value]
        if not all(text.strip() for pair in texts for text in pair):
            raise BadValueError("has an empty question or answer")
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
        raise BadValueError(f"holds a part `{shorten(kind)}`; only text can be trained on yet")
    for key in ("text", "value", "content"):
        if isinstance(text := part.get(key), str):
            return text
    raise BadValueError(f"holds a part `{shorten(kind or part)}` without `text` or `value`")


def _moss_messages(text: str) -> list[dict[str, str]]:
    """Return the messages of MOSS's `[Human]: ...<eoh> [MOSS]: ...<eoa>`; raises BadValueError for other text in it."""
    messages: list[dict[str, str]] = []
    at = 0
    while match := MOSS_MESSAGE.match(text, at):
        name, content, at = match[1] or match[2], match[3], match.end()
        if role_of(name, {}) in {USER, ASSISTANT}:
            messages.append({"role": name, "content": content})
        elif not holds_nothing(content):
            raise BadValueError(f"has `{name}`: reasoning and tools cannot be trained on yet")
    if text[at:].strip():
        raise BadValueError(f"holds `{shorten(text[at:].strip(), 20)}` behind what is said")
    return messages


def _moss_section(text: Any) -> Any:
    """Return what stands between MOSS's marks, as in `<|MOSS|>: ...<eom>`."""
    if not isinstance(text, str) or not (opened := MOSS_OPENING.match(text)):
        return text
    closed = MOSS_CLOSING.search(text, opened.end())
    return text[opened.end() : closed.start() if closed else len(text)]
