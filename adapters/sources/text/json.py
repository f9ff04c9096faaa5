"""JSON that is no JSON lines, by content: an array of objects or of lists of messages, or one object.

`[{"instruction": "...", "output": "..."}, ...]` is read in a window, whatever its size. One object is what it
holds, `{"data": [{...}, ...]}` or `{"train": [...], "test": [...]}`, or a record by itself.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.formats import is_one_conversation, is_surely_conversation, style_of
from ftbridge.adapters.mapping.headers import has_question, has_question_and_answer
from ftbridge.adapters.sources.compression import unpacked_name
from ftbridge.adapters.sources.split_names import PART_OF
from ftbridge.adapters.sources.text.encoding import CHINESE_CODECS, Encoding, as_utf8, find_encoding, utf8_blocks
from ftbridge.adapters.sources.text.jsonl import (
    BLANK,
    ROWS_PEEKED,
    TOKEN,
    begins_lines,
    begins_lists,
    conversation_table,
    json_value,
    peek_rows,
    read_rows,
    refuse_broken,
    table_of_rows,
)
from ftbridge.adapters.values import decode_raw, shorten
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.records import Reading, Row, Rows, Table
from ftbridge.language import gettext as _
from ftbridge.language import joined

# One object with one of these is a record of its own; with other lists, those hold the records.
OBJECT, ELEMENT = "object", "element"  # what rows are counted in
CONVERSATIONS = {"messages", "conversations", "conversation"}
OPENING = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*(\]|(?=[^ \t\r\n]))")
# Between two elements, by what closes the first: objects, or lists of messages.
BOUNDARIES = {
    b"}": re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)"),
    b"]": re.compile(rb"\][ \t\r\n]*,[ \t\r\n]*(?=\[)"),
}
# So many of the last places in a window are tried that look like the end of an element.
BOUNDARIES_TRIED = 20
# One object is read as a whole, up to this many bytes.
LARGEST_OBJECT = 64 << 20
# How files are called that hold a record on each line, be it only one.
LINES_SUFFIXES = {".jsonl", ".ndjson"}
# Keys that name splits; `evaluation` and its like may as well be a list within a record.
SPLITS = {"train", "training", "validation", "valid", "val", "dev", "test"}
# Keys whose list of objects are rows, whatever stands beside it.
HOLDERS = {
    *(*SPLITS, "data", "dataset", "rows", "records", "items", "examples", "samples", "instances", "results"),
    *("list", "faq", "faqs", "qas", "qa_pairs", "entries", "documents", "contents"),
}
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
Element = bytes | msgspec.Raw


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the text begins as a JSON array, or as one object that is not the first of JSON lines."""
    start = as_utf8(head).lstrip()[:1]
    return (start == b"{" and not begins_lines(path)) or (start == b"[" and not begins_lists(path))


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the array or object; raises InputError where the text is neither, naming the element that is broken."""
    encoding = find_encoding(path, reading.encoding, CHINESE_CODECS)
    if next(utf8_blocks(path, encoding), b"").lstrip(BLANK)[:1] == b"{":
        return _open_object(path, reading, encoding)
    reading.refuse_sheets(path, "JSON")
    batches = _row_batches(path, encoding, exact=reading.exact)
    first = peek_rows(batches)
    if not reading.exact and (one := conversation_table(path, first, batches)):
        return [one]
    rows = chain.from_iterable(rows for _unused, rows in _row_batches(path, encoding, exact=reading.exact))
    return [table_of_rows(path, first, [Rows(rows)], notes=(encoding.note,))]


def _row_batches(path: Path, encoding: Encoding, *, exact: bool) -> Iterator[tuple[int, Iterator[Row]]]:
    """Yield the rows some at a time, with the size of the text that they stand in."""
    number = 1
    for data, elements in _batches(path, utf8_blocks(path, encoding)):
        yield len(data), read_rows(data, elements, path.name, "element", number, exact=exact)
        number += len(elements)


def _batches(path: Path, blocks: Iterator[bytes]) -> Iterator[tuple[bytes, Sequence[Element]]]:
    """Yield the elements of the array, some at a time, with the text that they stand in."""
    data, ends = _begin_array(path, blocks)
    number = 1
    while not ends:
        found = _whole_elements(data)
        if not found.elements:
            data = _with_more(path, data, blocks, number)
            continue
        _refuse_broken_elements(path, found, number)
        yield data, found.elements
        number += len(found.elements)
        data, ends = data[found.end :], found.last
    _refuse_text_after(path, data, blocks)


def _begin_array(path: Path, blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return what follows the bracket that opens the array, and whether it is closed at once.

    Raises InputError where nothing follows.
    """
    data = b""
    while not (opening := OPENING.match(data)):
        data = _with_more(path, data, blocks, 1)
    return data[opening.end() :], bool(opening[1])


def _with_more(path: Path, data: bytes, blocks: Iterator[bytes], number: int) -> bytes:
    """Return `data` at twice its length, so that what is not whole is looked at again only then; less at the end.

    `number` is that of the element it begins with. Raises InputError where that is too long, or nothing follows.
    """
    if len(data) > LONGEST:
        raise _broken_array(path, _("it goes on for more than {longest} MiB").format(longest=LONGEST >> 20), number)
    longer = data
    for block in blocks:
        longer += block
        if block and len(longer) >= 2 * len(data):
            break
    if len(longer) == len(data):
        raise _broken_array(path, _("it is truncated"), number)
    return longer


class _FoundElements(msgspec.Struct, frozen=True):
    """Whole elements of an array as JSON texts, and at which byte the text goes on after them.

    `last` says that the array ends there, `checked` that all of them are JSON.
    """

    elements: Sequence[Element]
    end: int
    last: bool = False
    checked: bool = False


def _whole_elements(data: bytes) -> _FoundElements:
    """Return the elements that stand whole in `data`: most of them at once where that succeeds, else one by one."""
    end, close = len(data), b"]" if data[:1] == b"[" else b"}"
    for _unused in range(BOUNDARIES_TRIED):
        end = data.rfind(close, 0, max(0, end))
        if end > 0 and (boundary := BOUNDARIES[close].match(data, end)):
            try:
                return _FoundElements(_decode_list(b"[" + data[: end + 1] + b"]"), boundary.end(), checked=True)
            except (msgspec.DecodeError, RecursionError):
                continue
    return _elements_one_by_one(data)


def _elements_one_by_one(data: bytes) -> _FoundElements:
    elements, start, depth = [], 0, 0
    for token in TOKEN.finditer(data):
        char = token[0]
        if char == b'"':
            break
        if not depth and char in {b",", b"]"}:
            elements.append(data[start : token.start()])
            start = token.end()
            if char == b"]":
                return _FoundElements(elements, start, last=True)
        if char in {b"[", b"{"}:
            depth += 1
        elif char in {b"]", b"}"} and depth:
            depth -= 1
    return _FoundElements(elements, start)


def _refuse_broken_elements(path: Path, found: _FoundElements, number: int) -> None:
    """Raise InputError for an element that is no JSON; bytes that do not decode are an error of their row."""
    if found.checked:
        return
    for at, element in enumerate(found.elements, number):
        try:
            refuse_broken(bytes(element))
        except ValueError as error:
            raise _broken_array(path, str(error), at) from error


def _refuse_text_after(path: Path, after: bytes, blocks: Iterator[bytes]) -> None:
    """Raise InputError where more than blanks follows the end of the array."""
    for block in chain([after], blocks):
        if rest := block.strip(BLANK):
            text = shorten(rest.decode("utf-8", "replace"), 20)
            raise InputError(
                _("`{path}` is not a valid JSON array: `{text}` follows its end").format(path=path, text=text)
            )


def _broken_array(path: Path, reason: str, number: int) -> InputError:
    return InputError(
        _("`{path}` is not a valid JSON array: {reason}, at element {number}").format(
            path=path, reason=reason, number=number
        )
    )


def _open_object(path: Path, reading: Reading, encoding: Encoding) -> list[Table]:
    """Return the tables of one object: the lists of objects in it, or the one record that it is."""
    data = _read_object(path, encoding)
    members = _object_members(path, data)
    lists = {key: found for key, value in members.items() if (found := _objects_in_list(value))}
    if _is_record(members, lists, exact=reading.exact):
        reading.refuse_sheets(path, "JSON")
        return [_record_table(path, encoding, data, members)]
    chosen = _choose_lists(path, reading, lists)
    tables = []
    for key in chosen:
        unit = ELEMENT if len(chosen) == 1 else f"{key} {ELEMENT}"
        first = peek_rows([(len(data), read_rows(data, lists[key], path.name, unit, 1, exact=reading.exact))])
        pieces = [Rows(read_rows(data, lists[key], path.name, unit, 1, exact=reading.exact))]
        notes = (encoding.note, _("rows are under `{key}`").format(key=key))
        part = PART_OF[key] if len(chosen) > 1 and key in SPLITS else ""
        tables.append(table_of_rows(path, first, pieces, notes=notes, part=part))
    return tables


def _read_object(path: Path, encoding: Encoding) -> bytes:
    """Return the text of a file that is one object; raises InputError where it is too long to be read as a whole."""
    data = b""
    for block in utf8_blocks(path, encoding):
        data += block
        if len(data) > LARGEST_OBJECT:
            raise InputError(
                _("`{path}` is one JSON object of more than {largest_object} MiB; give its rows as JSON lines").format(
                    path=path, largest_object=LARGEST_OBJECT >> 20
                )
            )
    return data


def _is_record(members: dict[str, msgspec.Raw], lists: dict[str, Sequence[Element]], *, exact: bool) -> bool:
    """Tell whether an object is one record; else the `lists` of objects in it hold the records."""
    if not lists or has_question_and_answer(members) or has_question(members) or not CONVERSATIONS.isdisjoint(members):
        return True
    if not exact and any(_is_conversation(key, elements) for key, elements in lists.items()):
        return True
    return len(lists) < len(members) and not lists.keys() <= HOLDERS


def _record_table(path: Path, encoding: Encoding, data: bytes, members: dict[str, msgspec.Raw]) -> Table:
    """Return the table of one record; raises InputError where it holds nothing but objects."""
    objects = all(bytes(value)[:1] == b"{" for value in members.values())
    line = b"\n" not in data.strip() and unpacked_name(path).suffix.lower() in LINES_SUFFIXES
    if (
        members
        and objects
        and not line
        and not any(is_surely_conversation(key, style_of(value)) for key, value in members.items())
    ):
        raise InputError(
            _(
                "`{path}` holds objects by key ({keys}), and the meaning of the keys is unknown; "
                "give a list `[{{...}}, ...]`"
            ).format(path=path, keys=joined(", ", (f"`{key}`" for key in islice(members, 3))))
        )
    unit, note = (OBJECT, _("read as one record")) if b"\n" in data.strip() else ("line", "")
    rows = list(read_rows(data, [data], path.name, unit, 1))
    return table_of_rows(path, rows, [Rows(iter(rows))], notes=(encoding.note, note))


def _object_members(path: Path, data: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        value = json_value(data)
    except ValueError as error:
        reason = _("not UTF-8") if isinstance(error, UnicodeDecodeError) else str(error)
        if following := _begin_of_next_object(data):
            reason = _("several objects one after another, not one on each line; put each on one line (`jq -c .`)")
            if following == ",":
                reason = _("several objects with commas between them; put `[` before the first and `]` after the last")
        raise InputError(_("`{path}` is not valid JSON: {reason}").format(path=path, reason=reason)) from error
    return {key: msgspec.Raw(json.dumps(each).encode()) for key, each in value.items()}


def _begin_of_next_object(data: bytes) -> str:
    """Return what the next object begins with behind the first one, a comma or itself; "" where none follows."""
    text = data.decode("utf-8", "replace").lstrip()
    try:
        _unused, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ""
    after = text[end:].lstrip()
    return after[:1] if after.removeprefix(",").lstrip().startswith("{") else ""


def _objects_in_list(value: msgspec.Raw) -> Sequence[Element]:
    """Return the elements of a list that begins with an object, or with a list of messages, else none."""
    if not re.match(rb"\[[ \t\r\n]*(\[[ \t\r\n]*)?\{", bytes(value)):
        return ()
    try:
        return _decode_list(value)
    except msgspec.DecodeError:
        return _elements_one_by_one(bytes(value)[1:]).elements


def _is_conversation(key: str, elements: Sequence[Element]) -> bool:
    """Tell whether the elements of a list are the messages or the turns of one conversation, rather than rows."""
    if len(elements) > ROWS_PEEKED:
        return False
    try:
        messages = [decode_raw(msgspec.Raw(each)) for each in elements]
    except UnicodeDecodeError:  # each is a row, and those that do not decode are told as such
        return False
    if not all(isinstance(each, dict) for each in messages):
        return False
    return is_one_conversation(messages) or (key not in HOLDERS and is_surely_conversation(key, style_of(messages)))


def _choose_lists(path: Path, reading: Reading, lists: dict[str, Any]) -> list[str]:
    """Return the keys whose lists are read: the ones asked for as sheets, the only one, or all if they are splits."""
    if reading.sheets:
        for key in reading.sheets:
            if key not in lists:
                raise InputError(
                    _("`{path}` has no list `{key}`{hint}").format(path=path, key=key, hint=closest(key, lists))
                )
        return list(reading.sheets)
    if len(lists) == 1 or reading.all_sheets or lists.keys() <= SPLITS:
        return list(lists)
    raise InputError(
        _("`{path}` holds several lists of objects; choose with `--sheet`: {keys}").format(
            path=path, keys=joined(", ", (f"`{key}`" for key in lists))
        )
    )
