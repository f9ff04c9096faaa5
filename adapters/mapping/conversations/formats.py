"""The shapes that datasets give conversations, and how each is told.

    [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]    OpenAI messages
    [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]             ShareGPT conversations
    [{"system": "...", "input": "...", "output": "..."}]                             XTuner conversations
    [{"speaker": "user", "text": "..."}, ...]                                        messages under other keys
    [{"human": "...", "assistant": "..."}, ...]                                      turns under other keys
    [["question", "answer"], ...], ["question", "answer", ...]                       turns without keys
    {"turn_1": {"Human": "<|Human|>: ...<eoh>", "MOSS": "<|MOSS|>: ...<eom>"}}       MOSS, and its text

What may as well be something else is a conversation only in a column that is called so.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, ROLES, SYSTEM, USER, role_of
from ftbridge.adapters.mapping.headers import HEADERS, normalize_header
from ftbridge.adapters.values import parse_list, shorten
from ftbridge.language import to_translate

# Styles are in English, by which they are compared, and in the user's language where they are shown.
OPENAI, SHAREGPT = to_translate("OpenAI messages"), to_translate("ShareGPT conversations")
XTUNER = to_translate("XTuner conversations")
STYLE_KEYS = {OPENAI: ("role", "content"), SHAREGPT: ("from", "value"), XTUNER: ("input", "output")}
PAIRS, ALTERNATING = to_translate("pairs of question and answer"), to_translate("questions and answers in turn")
MOSS = to_translate("MOSS conversations")
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
    roles = {role_of(name, {}) for name, _unused in pairs}
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
