"""Samples that are whole conversations, one a row, in the formats of `conversations`.

Most are OpenAI messages, ShareGPT conversations or XTuner's without other keys, for which there is a fast path.
"""

from typing import Any

import msgspec

from ftbridge.adapters.mapping.base import FastPath, Mapping, RowProblems
from ftbridge.adapters.mapping.conversations.flags import TOOLS
from ftbridge.adapters.mapping.conversations.formats import (
    OPENAI,
    SHAREGPT,
    XTUNER,
    conversation_items,
)
from ftbridge.adapters.mapping.conversations.reader import ConversationReader
from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, ROLES, SYSTEM, USER, ask_for_roles, role_of
from ftbridge.adapters.mapping.conversations.tools import tools_as_json
from ftbridge.adapters.mapping.headers import untrainable_columns
from ftbridge.adapters.values import BadValueError, decode_raw, quick_text
from ftbridge.core.records import Conversation, Row, Table, Text, Turn
from ftbridge.language import gettext as _


class OpenAIMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of role and content alone; the content stays JSON as in the source."""

    role: str
    content: msgspec.Raw


class ShareGPTMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of ShareGPT's, `from` and `value` alone."""

    role: str = msgspec.field(name="from")
    content: msgspec.Raw = msgspec.field(name="value")


class XTunerTurn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A turn of XTuner's, input, output and perhaps a system prompt alone."""

    input: msgspec.Raw
    output: msgspec.Raw
    system: msgspec.Raw = msgspec.Raw(b'""')


# Decoders of conversations that have nothing out of the ordinary, by their style.
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    OPENAI: msgspec.json.Decoder(list[OpenAIMessage]),
    SHAREGPT: msgspec.json.Decoder(list[ShareGPTMessage]),
    XTUNER: msgspec.json.Decoder(list[XTunerTurn]),
}


class MessageMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, all of it in the column of the field `messages`; another column may hold the system prompt.

    A column of the field `output` holds the answer to what `messages` asks, as in TRL's prompt and completion.
    """

    style: str

    @property
    def tools_are_read(self) -> bool:
        """Tell whether columns of tools are read: a conversation has room for them."""
        return True

    def fast_path(self) -> FastPath | None:
        """Return a function that makes the sample of an ordinary row, and returns None for one that needs `read`."""
        if {"system", "output"} & self.columns.keys() or SYSTEM in self.roles or self.style not in _DECODERS:
            return None
        roles = ROLES | self.roles
        column, longest, default_system = self.columns["messages"], self.max_characters, self.system
        decode = _DECODERS[self.style].decode
        system_and_turns = _quick_turns if self.style == XTUNER else _quick_messages

        def convert(row: Row) -> Conversation | None:
            value = row.values.get(column)
            if type(value) is not msgspec.Raw:
                return None
            try:
                made = system_and_turns(decode(value), longest, roles)
            except (msgspec.DecodeError, RecursionError):
                return None
            if not made:
                return None
            system, turns = made[0] or default_system, made[1]
            return Conversation(system, turns, row.where, self.label(row, system, turns[-1]))

        return convert

    def read(self, row: Row, problems: RowProblems) -> tuple[str, tuple[Turn, ...]]:
        """Return system prompt and turns after a look at everything; the first fault is added to `problems`."""
        system = ""
        turns: list[Turn] = []
        reader, columns = self._reader(), self.columns
        value, field = decode_raw(row.values.get(columns["messages"])), "messages"
        try:
            if "output" in columns:
                system, turns = reader.read_messages(
                    _append_completion(value, row.values.get(columns["output"]), reader)
                )
            else:
                system, turns = reader.read(value)
            if "system" in columns and not system:
                field = "system"
                system = reader.read_system(decode_raw(row.values.get(columns[field])))
        except BadValueError as error:
            problems.add(field, columns[field], str(error))
        if turns and not any(turn.train for turn in turns):
            problems.add("messages", columns["messages"], _("has no answer to train on: its flags exclude all of them"))
        return system, tuple(turns)

    def read_tools(self, row: Row, problems: RowProblems) -> str:
        """Return the tools that a row offers as a JSON list, "" for none; what is wrong is added to `problems`."""
        found = self.tool_columns
        if not self.user_decided:
            late = untrainable_columns(column for column in row.values if column not in self.known_columns)
            found += [column for column, content in late.items() if content == TOOLS]
        for column in found:
            try:
                if tools := tools_as_json(decode_raw(row.values.get(column))):
                    return tools
            except BadValueError as error:
                problems.add("", column, str(error))
        return ""

    def ask_for_unknown_roles(self, table: Table) -> None:
        """Raise QuestionError where the first rows have roles that only the user can tell."""
        column, completion, reader = self.columns["messages"], self.columns.get("output"), self._reader()
        conversations = []
        for row in table.first:
            speakers = reader.speakers(row.values.get(column))
            if completion is not None:
                speakers += reader.speakers(row.values.get(completion)) or [ASSISTANT]
            conversations.append(speakers)
        ask_for_roles(column, conversations, self.roles)

    def _reader(self) -> ConversationReader:
        return ConversationReader(
            style=self.style, roles=self.roles, tags=self.tags, max_characters=self.max_characters, strip=self.strip
        )


def _append_completion(prompt: Any, completion: Any, reader: ConversationReader) -> list[Any]:
    """Return the messages of a prompt and its completion; raises BadValueError where more than that would be learned.

    Both frameworks learn every answer, TRL none that stands in the prompt.
    """
    messages, answer = conversation_items(prompt), conversation_items(completion)
    if not isinstance(messages, list) or not messages:
        raise BadValueError(_("is not a list of messages"))
    answer = answer if isinstance(answer, list) else [{"role": ASSISTANT, "content": answer}]
    if len(answer) != 1:
        raise BadValueError(
            _("is completed by {count} messages, but only one answer can be learned").format(count=len(answer))
        )
    if any(role_of(name, reader.roles) == ASSISTANT for name in reader.speakers(messages)):
        raise BadValueError(_("has an answer in the prompt, which both frameworks would learn too, and TRL does not"))
    return [*messages, *answer]


def _quick_messages(messages: list[Any], longest: int, roles: dict[str, str]) -> tuple[Text, tuple[Turn, ...]] | None:
    """Return system and turns of ordinary messages, else None."""
    system: Text | None = ""
    if messages and messages[0].role == SYSTEM:
        system = quick_text(messages[0].content, longest)
        messages = messages[1:]
    if system is None or not messages or len(messages) % 2:
        return None
    turns = []
    for user, assistant in zip(messages[::2], messages[1::2], strict=True):
        question, answer = quick_text(user.content, longest), quick_text(assistant.content, longest)
        if not question or not answer or roles.get(user.role) != USER or roles.get(assistant.role) != ASSISTANT:
            return None
        turns.append(Turn(question, "", answer))
    return system, tuple(turns)


def _quick_turns(xtuner: list[XTunerTurn], longest: int, _: dict[str, str]) -> tuple[Text, tuple[Turn, ...]] | None:
    """Return system and turns of XTuner's ordinary turns, else None."""
    system: Text = ""
    turns: list[Turn] = []
    for each in xtuner:
        own_system, question, answer = (quick_text(text, longest) for text in (each.system, each.input, each.output))
        if own_system is None or not question or not answer or (own_system and turns):
            return None
        system = system or own_system
        turns.append(Turn(question, "", answer))
    return (system, tuple(turns)) if turns else None
