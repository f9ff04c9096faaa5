"""Records of a dataset as its entry in dataset_info.json describes them, for files that ftbridge did not write.

    {"file_name": "faq.json", "columns": {"prompt": "q", "response": "a"}}    {"q": "why?", "a": "because"}

The rules are those of LLaMA-Factory 0.9.5 (data/converter.py). What it drops with a warning in its log, or dies of,
is an error here, and so is what XTuner cannot hold.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ftbridge.adapters.mapping.conversations.formats import OPENAI
from ftbridge.adapters.mapping.conversations.reader import ConversationReader
from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, SYSTEM, TOOL, USER
from ftbridge.adapters.mapping.conversations.tools import tools_as_json
from ftbridge.adapters.sources.compression import first_bytes
from ftbridge.adapters.targets.text_only import answer_with_thought
from ftbridge.adapters.values import BadValueError, decode_raw, parse_list, type_name, with_article
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import load_plugin
from ftbridge.core.records import Beside, Conversation, Reading, Row, Table, Turn, turn_of
from ftbridge.dataset_info.entries import MEDIA, TYPES, Entry
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.core.plugins import Source

# Who speaks, by the tags of an entry.
_ROLES = {
    "user_tag": USER,
    "assistant_tag": ASSISTANT,
    "system_tag": SYSTEM,
    "observation_tag": TOOL,
    "function_tag": CALL,
}
# What pandas, which reads CSV for the frameworks, takes for nothing.
NULLS_OF_PANDAS = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}


class UnfitError(BadValueError):
    """A record that cannot be trained on, and the column that is to blame.

    `for_xtuner` says that XTuner alone cannot hold it.
    """

    def __init__(self, column: str, reason: str, value: Any = None, *, for_xtuner: bool = False) -> None:
        super().__init__(reason)
        self.column, self.value, self.for_xtuner = column, value, for_xtuner


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a data file, without empty ones; raises InputError where it cannot be read."""
    kind = TYPES[file.suffix[1:]]
    for table in _open_tables(file, kind):
        for row in table.rows():
            values = {column: decode_raw(value) for column, value in row.values.items()}
            if kind == "csv":
                values = _nulls_as_in_pandas(values)
            if values or row.error:
                yield Row(row.where, values, row.error)


def _nulls_as_in_pandas(values: dict[str, Any]) -> dict[str, Any]:
    return {column: None if value in NULLS_OF_PANDAS else value for column, value in values.items()}


def _open_tables(file: Path, kind: str) -> list[Table]:
    """Open a file as what its name says, which is what LLaMA-Factory goes by; raises InputError for another content."""
    head = first_bytes(file)
    for name in ("json", "jsonl") if kind == "json" else (kind,):
        source = cast("Source", load_plugin("sources", name))
        if source.detect(file, head):
            return source.open_tables(file, Reading(exact=True))
    raise InputError(_("`{file}` does not hold {kind}, as its name says it does").format(file=file, kind=kind))


def read_conversation(entry: Entry, row: Row, *, tools: bool = False) -> Conversation:
    """Return the conversation of a row from `rows`; raises UnfitError where there is none for both frameworks.

    With `tools`, which LLaMA-Factory alone can hold, calls and results are answers and questions, and the tools join
    the system prompt. A thought stands before its answer, and what is not learned is there.
    """
    if row.error:
        raise UnfitError("", row.error)
    values = row.values
    if entry.formatting == MESSAGES:
        return _as_texts(read_whole_conversation(entry, row), entry.columns["messages"], tools=tools)
    if entry.formatting == CONVERSATIONS:
        system, turns = _read_xtuner(values)
    elif entry.formatting == "alpaca":
        system, turns = _read_alpaca(entry.columns, values)
    else:
        system, turns = _read_messages(entry, values, tools=tools)
    for field in MEDIA:
        if values.get(entry.columns.get(field, "")):
            raise UnfitError(
                entry.columns[field], _("holds {field}, but only text can be trained on").format(field=field)
            )
    offered = _tools_as_json(values, entry.columns.get("tools", ""))
    if offered and not tools:
        raise UnfitError(entry.columns["tools"], _("holds tools, which XTuner cannot hold"), for_xtuner=True)
    return Conversation("\n".join(filter(None, (system, offered))), turns, row.where)


def read_whole_conversation(entry: Entry, row: Row) -> Conversation:
    """Return the conversation of a row with all that goes with its answers; raises UnfitError where there is none.

    What LLaMA-Factory looks for in an entry decides which keys and roles count; flags and thoughts stand beside answers
    under any name that is known.
    """
    values, column = row.values, entry.columns.get("messages", "")
    messages = values.get(column) if entry.formatting not in {CONVERSATIONS, "alpaca"} else None
    if row.error or not isinstance(messages, list) or not _has_more_than_texts(entry, messages, values):
        plain = msgspec.structs.replace(entry, formatting="sharegpt") if entry.formatting == MESSAGES else entry
        return read_conversation(plain, row)
    tags = entry.tags
    reader = ConversationReader(
        style=OPENAI,
        roles={tags[tag]: role for tag, role in _ROLES.items() if tag in tags},
        tags={tag: tags[tag] for tag in ("role_tag", "content_tag")},
    )
    try:
        system, turns = reader.read_messages(messages)
        offered = tools_as_json(values.get(entry.columns.get("tools", "")))
    except BadValueError as error:
        raise UnfitError(column, str(error), messages) from error
    if not any(turn.train for turn in turns):
        raise UnfitError(column, _("has no answer that is learned"), messages)
    return Conversation(system or _text(values, entry.columns.get("system")), tuple(turns), row.where, "", offered)


def _has_more_than_texts(entry: Entry, messages: list[Any], values: dict[str, Any]) -> bool:
    """Tell whether a row has more than questions and answers that are learned: tools, flags, thoughts."""
    tags = entry.tags
    keys = {tags["role_tag"], tags["content_tag"]}
    roles = {tags[tag] for tag in ("user_tag", "assistant_tag", "system_tag") if tag in tags}
    if _tools_as_json(values, entry.columns.get("tools", "")):
        return True
    return any(
        isinstance(each, dict) and (each.get(tags["role_tag"]) not in roles or not each.keys() <= keys)
        for each in messages
    )


def _as_texts(sample: Conversation, column: str, *, tools: bool) -> Conversation:
    """Return a conversation as questions and answers; raises UnfitError where it has tools that are not wanted."""
    if sample.uses_tools and not tools:
        raise UnfitError(column, _("has tools, which XTuner cannot hold"), for_xtuner=True)
    turns = []
    for turn in sample.turns:
        heard = "\n".join(str(each.content) for each in turn.observations)
        answer = "\n".join(filter(None, (str(answer_with_thought(turn)), turn.calls)))
        turns.append(Turn(turn.instruction or heard, turn.input, answer))
    system = "\n".join(filter(None, (str(sample.system), sample.tools)))
    return Conversation(system, tuple(turns), sample.source)


def _tools_as_json(values: dict[str, Any], column: str) -> str:
    """Return a row's tools as JSON, "" for none: an empty list, also as text, offers none."""
    value = values.get(column)
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode() if value else ""
    return "" if parse_list(value) == [] or value.strip() == "{}" else value


def _text(values: dict[str, Any], column: str | None, *, needed: bool = False) -> str:
    """Return the text in a column; null, or no column, is "" unless it is `needed`."""
    value = values.get(column or "")
    if isinstance(value, str):
        return value
    if value is None and not needed:
        return ""
    raise UnfitError(
        column or "", _("holds {type_name}, not text").format(type_name=with_article(type_name(value))), value
    )


def _read_alpaca(columns: dict[str, str], values: dict[str, Any]) -> tuple[str, tuple[Turn, ...]]:
    """Return system prompt and turns of an Alpaca record, those of its history first."""
    system = _text(values, columns.get("system"))
    earlier = values.get(columns.get("history", ""))
    if not isinstance(earlier, list | None):
        raise UnfitError(columns["history"], _("is not a list of [question, answer] pairs"), earlier)
    turns = []
    for pair in earlier or ():
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            raise UnfitError(columns["history"], _("is not a list of [question, answer] pairs"), earlier)
        turns.append(Turn(pair[0], "", pair[1]))
    question, extra = _text(values, columns.get("prompt")), _text(values, columns.get("query"))
    return system, (*turns, Turn(question, extra, _text(values, columns.get("response"), needed=True)))


def _message_list(values: dict[str, Any], column: str) -> list[dict[str, Any]]:
    messages = values.get(column)
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise UnfitError(column, _("is not a list of messages"), messages)
    return messages


def _read_messages(entry: Entry, values: dict[str, Any], *, tools: bool) -> tuple[str, tuple[Turn, ...]]:
    """Return system prompt and turns of a ShareGPT or OpenAI record; raises UnfitError for calls without `tools`."""
    column, tags = entry.columns["messages"], entry.tags
    role, content = tags["role_tag"], tags["content_tag"]
    messages = _message_list(values, column)
    if "system_tag" in tags and messages[0].get(role) == tags["system_tag"]:
        system, messages = _text(messages[0], content), messages[1:]
    else:
        system = _text(values, entry.columns.get("system"))
    if entry.formatting == "openai":
        messages = _join_tool_results(messages, role, tags.get("observation_tag", ""))
    _refuse_disorder(messages, column, tags)
    texts = [_message_text(message, content) for message in messages]
    plain_roles = {tags["user_tag"], tags["assistant_tag"]}
    calls = any(message.get("tool_calls") or message[role] not in plain_roles for message in messages)
    if calls and not tools:
        raise UnfitError(column, _("calls tools, which XTuner cannot hold"), messages, for_xtuner=True)
    return system, tuple(Turn(question, "", answer) for question, answer in zip(texts[::2], texts[1::2], strict=True))


def _message_text(message: dict[str, Any], content: str) -> str:
    """Return what a message says: its calls of tools, where it has them, as JSON."""
    if calls := message.get("tool_calls"):
        return _text(message, content) or msgspec.json.encode(calls).decode()
    return _text(message, content, needed=True)


def _join_tool_results(messages: list[dict[str, Any]], role: str, tool: str) -> list[dict[str, Any]]:
    """Return the messages as they are counted with `openai`: results of tools in a row are one, and none at the end."""
    following = [*(message.get(role) for message in messages[1:]), tool]
    return [each for each, then in zip(messages, following, strict=True) if (each.get(role), then) != (tool, tool)]


def _refuse_disorder(messages: list[dict[str, Any]], column: str, tags: dict[str, str]) -> None:
    """Raise UnfitError where questions and answers do not alternate."""
    for at, message in enumerate(messages):
        role = message.get(tags["role_tag"])
        asked, other = ("assistant_tag", "function_tag") if at % 2 else ("user_tag", "observation_tag")
        if role not in (tags[asked], tags.get(other, tags[asked])):
            raise UnfitError(
                column, _("has the role `{role}` where `{tag}` must come").format(role=role, tag=tags[asked]), messages
            )
    if not messages or len(messages) % 2:
        raise UnfitError(column, _("does not end with an answer"), messages)


def _read_xtuner(values: dict[str, Any]) -> tuple[str, tuple[Turn, ...]]:
    """Read XTuner's own format, as ftbridge writes it."""
    turns = _message_list(values, "conversation")
    texts = []
    for turn in turns:
        question, answer = (_text(turn, key, needed=True) for key in ("input", "output"))
        learned = turn.get("output_with_loss", True)
        if not isinstance(learned, bool):  # null, which `datasets` puts where the key is missing, leaves out the answer
            raise UnfitError(_("conversation"), _("has `output_with_loss` that is neither true nor false"), turns)
        texts.append(turn_of(question, "", answer, Beside(train=learned)))
    return _text(turns[0], "system"), tuple(texts)
