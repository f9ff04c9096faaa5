"""Samples that are whole conversations, one a row, in the shapes of `conversations`.

Most are OpenAI messages, ShareGPT conversations or XTuner's without anything out of the ordinary, and need no more than
a quick look.
"""

from typing import Any

import msgspec

from ftbridge.adapters.mapping.base import Mapping, Notes, Quick
from ftbridge.adapters.mapping.conversations.formats import OPENAI, SHAREGPT, XTUNER, Reader, unfolded
from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, ROLES, SYSTEM, USER, refuse_unknown, role_of
from ftbridge.adapters.values import BadValueError, passed, plain
from ftbridge.core.records import Conversation, Row, Table, Text, Turn


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


class MessageMapping(Mapping, frozen=True, kw_only=True):
    """One sample a row, all of it in the column of the field `messages`; another column may hold the system prompt.

    A column of the field `output` holds the answer to what `messages` asks, as in TRL's prompt and completion.
    """

    style: str

    def quick(self) -> Quick | None:
        """Return what makes the sample of a row that has nothing out of the ordinary, and None of any other row."""
        if {"system", "output"} & self.columns.keys() or SYSTEM in self.roles or self.style not in _decoders:
            return None
        roles = ROLES | self.roles
        column, longest, default = self.columns["messages"], self.max_characters, self.system
        decode, turns_of = _decoders[self.style].decode, _quick_turns if self.style == XTUNER else _quick_messages

        def quick(row: Row) -> Conversation | None:
            value = row.values.get(column)
            if type(value) is not msgspec.Raw:
                return None
            try:
                found = turns_of(decode(value), longest, roles)
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
        reader, columns = self._reader(), self.columns
        value, field = plain(row.values.get(columns["messages"])), "messages"
        try:
            if "output" in columns:
                system, turns = reader.messages(_answered(value, row.values.get(columns["output"]), reader))
            else:
                system, turns = reader.read(value)
            if "system" in columns and not system:
                field = "system"
                system = reader.system(plain(row.values.get(columns[field])))
        except BadValueError as error:
            notes.add(field, columns[field], str(error))
        return system, tuple(turns)

    def ask(self, table: Table) -> None:
        """Raise QuestionError where the first rows have roles that only the user can tell."""
        column, reader = self.columns["messages"], self._reader()
        answer = self.columns.get("output", "")
        spoken = []
        for row in table.first:
            names = reader.names(row.values.get(column))
            spoken.append(names + (reader.names(row.values.get(answer)) or [ASSISTANT] if answer else []))
        refuse_unknown(column, spoken, self.roles)

    def _reader(self) -> Reader:
        return Reader(style=self.style, roles=self.roles, tags=self.tags, longest=self.max_characters, strip=self.strip)


def _answered(prompt: Any, completion: Any, reader: Reader) -> list[Any]:
    """Return the messages of a prompt and its completion; raises BadValueError where more than that would be learned.

    Both frameworks learn every answer, TRL none that stands in the prompt.
    """
    asked, answer = unfolded(prompt), unfolded(completion)
    if not isinstance(asked, list) or not asked:
        raise BadValueError("is no list of messages")
    answer = answer if isinstance(answer, list) else [{"role": ASSISTANT, "content": answer}]
    if len(answer) != 1:
        raise BadValueError(f"is completed by {len(answer)} messages, and one answer can be learned")
    if any(role_of(name, reader.roles) == ASSISTANT for name in reader.names(asked)):
        raise BadValueError("has an answer in the prompt, which both frameworks would learn too, and TRL does not")
    return [*asked, *answer]


def _quick_messages(said: list[Any], longest: int, roles: dict[str, str]) -> tuple[Text, tuple[Turn, ...]] | None:
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
        if not asked or not answered or roles.get(question.role) != USER or roles.get(answer.role) != ASSISTANT:
            return None
        turns.append(Turn(asked, "", answered))
    return system, tuple(turns)


def _quick_turns(said: list[XTuner], longest: int, _: dict[str, str]) -> tuple[Text, tuple[Turn, ...]] | None:
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
