"""Conversations that stand in one column, as a list of messages or turns.

    [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]    OpenAI messages
    [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]             ShareGPT conversations
    [{"system": "...", "input": "...", "output": "..."}]                             XTuner conversations

The user and the assistant take turns, the user first and the assistant last; a system message is the first.
"""

from typing import Any

import msgspec

from ftbridge.adapters.mapping import Mapping, Notes, Quick
from ftbridge.adapters.values import BadValueError, blank, checked, listed, passed, plain, shown
from ftbridge.core.records import Conversation, Row, Text, Turn

OPENAI, SHAREGPT, XTUNER = "OpenAI messages", "ShareGPT conversations", "XTuner conversations"
KEYS = {OPENAI: ("role", "content"), SHAREGPT: ("from", "value"), XTUNER: ("input", "output")}
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), ASSISTANT),
}
TOOL_ROLES = {"tool", "function", "observation", "function_call", "tool_call", "tool_response", "ipython"}
# Keys of a message that say more than its text, by what they hold.
REFUSED = {
    **dict.fromkeys(("tool_calls", "function_call", "tool_call_id", "tools", "functions"), "tools"),
    **dict.fromkeys(("image", "images", "video", "videos", "audio", "audios"), "images, sound or video"),
    **dict.fromkeys(("reasoning", "reasoning_content", "thinking"), "reasoning"),
}
# Keys that say whether an answer is trained on.
LOSS = ("loss", "output_with_loss", "weight", "train")


class OpenAI(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message without anything out of the ordinary."""

    role: str
    content: msgspec.Raw


class ShareGPT(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The same in ShareGPT's words."""

    role: str = msgspec.field(name="from")
    content: msgspec.Raw = msgspec.field(name="value")


class XTuner(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A turn without anything out of the ordinary."""

    input: msgspec.Raw
    output: msgspec.Raw
    system: msgspec.Raw = msgspec.Raw(b'""')


_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    OPENAI: msgspec.json.Decoder(list[OpenAI]),
    SHAREGPT: msgspec.json.Decoder(list[ShareGPT]),
    XTUNER: msgspec.json.Decoder(list[XTuner]),
}


def style_of(value: Any) -> str:
    """Return what kind of conversation `value` is, "" for none."""
    value = listed(value)
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return ""
    return next((style for style, keys in KEYS.items() if value[0].keys() >= set(keys)), "")


class MessageMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, all of it in the column of the field `messages`; another column may hold the system prompt."""

    style: str

    def quick(self) -> Quick | None:
        """Return what makes the sample of a row that has nothing out of the ordinary, and None of any other row."""
        if "system" in self.columns:
            return None
        column, longest, default = self.columns["messages"], self.max_characters, self.system
        decode, turns_of = _decoders[self.style].decode, _quick_turns if self.style == XTUNER else _quick_messages

        def quick(row: Row) -> Conversation | None:
            value = row.values.get(column)
            if type(value) is not msgspec.Raw:
                return None
            try:
                found = turns_of(decode(value), longest)
            except (msgspec.DecodeError, RecursionError):
                return None
            if not found:
                return None
            system = found[0] or default
            return Conversation(system, found[1], row.where, self.label(row, system, found[1][-1]))

        return quick

    def read(self, row: Row, notes: Notes) -> tuple[str, tuple[Turn, ...]]:
        """Return system and turns, looking at everything; the first thing that is wrong goes into `notes`."""
        system = ""
        turns: list[Turn] = []
        for field, column in self.columns.items():
            value = plain(row.values.get(column))
            try:
                if field == "messages":
                    system, turns = self._turns(value) if self.style == XTUNER else self._messages(value)
                elif not system:
                    system = self._text(value)
            except BadValueError as error:
                notes.add(field, column, str(error))
        return system, tuple(turns)

    def _messages(self, value: Any) -> tuple[str, list[Turn]]:
        """Return system and turns; raises BadValueError for the first message that is out of place."""
        system = ""
        texts: list[str] = []
        for number, message in enumerate(_listed(value), 1):
            due = (SYSTEM, USER) if number == 1 else (ASSISTANT if len(texts) % 2 else USER,)
            try:
                role, text = self._message(message, due)
            except BadValueError as error:
                raise BadValueError(f"message {number} {error}") from error
            if role == SYSTEM:
                system = text
            else:
                texts.append(text)
        if not texts or len(texts) % 2:
            raise BadValueError("ends with the user's message" if texts else "holds no question and answer")
        return system, [Turn(asked, "", answer) for asked, answer in zip(texts[::2], texts[1::2], strict=True)]

    def _message(self, message: Any, due: tuple[str, ...]) -> tuple[str, str]:
        """Return the role, which must be one that is due, and the text of a message."""
        for_role, for_text = KEYS[self.style]
        if not isinstance(message, dict) or for_role not in message:
            raise BadValueError(f"is no object with `{for_role}` and `{for_text}`")
        name = str(message[for_role])
        if name.lower() in TOOL_ROLES:
            raise BadValueError(f"has the role `{name}`: tools cannot be trained on yet")
        role = ROLES.get(name.lower())
        if not role:
            raise BadValueError(f"has the unknown role `{shown(name)}`")
        _refuse(message, trained=role == ASSISTANT)
        if role not in due:
            raise BadValueError(f"is the {role}'s, and the {due[-1]}'s is due")
        text = self._text(_joined(message.get(for_text)))
        if role != SYSTEM and not text.strip():
            raise BadValueError("is empty")
        return role, text

    def _turns(self, value: Any) -> tuple[str, list[Turn]]:
        """Return system and turns of XTuner's format; raises BadValueError for the first turn that will not do."""
        system = ""
        turns: list[Turn] = []
        for number, turn in enumerate(_listed(value), 1):
            try:
                own, made = self._turn(turn, system if turns else None)
            except BadValueError as error:
                raise BadValueError(f"turn {number} {error}") from error
            system = system or own
            turns.append(made)
        if not turns:
            raise BadValueError("holds no question and answer")
        return system, turns

    def _turn(self, turn: Any, before: str | None) -> tuple[str, Turn]:
        """Return a turn and its system prompt, which must be the one of the turns `before`."""
        if not isinstance(turn, dict) or not turn.keys() >= {"input", "output"}:
            raise BadValueError("is no object with `input` and `output`")
        _refuse(turn, trained=True)
        system, asked, answer = (self._text(turn.get(key)) for key in ("system", "input", "output"))
        if before is not None and system not in {"", before}:
            raise BadValueError("has a system prompt of its own")
        for key, text in (("input", asked), ("output", answer)):
            if not text.strip():
                raise BadValueError(f"has an empty {key}")
        return system, Turn(asked, "", answer)

    def _text(self, value: Any) -> str:
        return checked(value, self.max_characters, strip=self.strip)


def _quick_messages(said: list[Any], longest: int) -> tuple[Text, tuple[Turn, ...]] | None:
    """Return system and turns of good messages, else None."""
    system: Text | None = ""
    if said and said[0].role == SYSTEM:
        system = passed(said[0].content, longest)
        said = said[1:]
    if system is None or not said or len(said) % 2:
        return None
    turns = []
    for question, answer in zip(said[::2], said[1::2], strict=True):
        asked, answered = passed(question.content, longest), passed(answer.content, longest)
        if not asked or not answered or ROLES.get(question.role) != USER or ROLES.get(answer.role) != ASSISTANT:
            return None
        turns.append(Turn(asked, "", answered))
    return system, tuple(turns)


def _quick_turns(said: list[XTuner], longest: int) -> tuple[Text, tuple[Turn, ...]] | None:
    """Return system and turns of good turns, else None."""
    system: Text = ""
    turns: list[Turn] = []
    for turn in said:
        own, asked, answered = (passed(text, longest) for text in (turn.system, turn.input, turn.output))
        if own is None or not asked or not answered or (own and turns):
            return None
        system = system or own
        turns.append(Turn(asked, "", answered))
    return (system, tuple(turns)) if turns else None


def _listed(value: Any) -> list[Any]:
    value = listed(value)
    if not isinstance(value, list):
        raise BadValueError("is empty" if blank(value) else "is no list of messages")
    return value


def _joined(content: Any) -> Any:
    """Return a message's content, put together where it is parts; raises BadValueError for images."""
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise BadValueError(f"holds a part `{shown(kind)}`; only text can be trained on yet")
    return "".join(part["text"] for part in content)


def _refuse(item: dict[str, Any], *, trained: bool) -> None:
    """Raise BadValueError where a message or a turn says more than can be kept."""
    for key in REFUSED.keys() & item.keys():
        if not blank(item[key]):
            raise BadValueError(f"has `{key}`: {REFUSED[key]} cannot be trained on yet")
    for key in LOSS:
        if trained and item.get(key) not in (None, True):
            raise BadValueError(f"has `{key}` {shown(item[key])}: no answer can be left out of the loss yet")
