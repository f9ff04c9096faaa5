"""JSON lines: one object a line, `{"instruction": "...", "output": "..."}`; blank lines are empty rows.

A line that is a list of messages is a row with the one column `messages`.

A file is cut at line ends, so that several processes can read it. Values stay as they stand in the file
(`msgspec.Raw`) wherever that is how msgspec would write them: most text is then never decoded. Of a key that
occurs twice in an object the last counts, as everywhere.
"""

import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.mapping.conversations.formats import is_one_conversation, message_keys
from ftbridge.adapters.sources.compression import is_packed, open_unpacked, unpacked_name
from ftbridge.adapters.sources.text.encoding import CHINESE_CODECS, Encoding, as_utf8, find_encoding, utf8_blocks
from ftbridge.adapters.values import decode_raw, shorten
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.records import FIRST, Piece, Reading, Row, Rows, Table, Where
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate

# Columns are the keys of this many first rows; a known column that comes later is an error of its row.
ROWS_PEEKED = 10_000
# What the one column of a row is called that is a list of messages.
MESSAGE_COLUMN = "messages"
# What Python says of broken JSON, in the texts that are translated where they are shown.
JSON_ERRORS = (
    to_translate("Expecting value"), to_translate("Expecting ',' delimiter"), to_translate("Expecting ':' delimiter"),
    to_translate("Expecting property name enclosed in double quotes"), to_translate("Unterminated string starting"),
    to_translate("Invalid control character"), to_translate("Extra data"),
)  # fmt: skip
BLOCK = 1 << 20
# So much at a time is decoded within the processor's cache.
CACHE_SIZE = 1 << 16
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"
# A list of messages, begun.
MESSAGES_BEGUN = re.compile(rb"\s*\[\s*\{")
# A string, or what opens, closes or parts; a quote by itself opens a string that is not closed.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
SUFFIXES = {".json", ".jsonl", ".ndjson"}
# What JSON may hold and msgspec would not write; one search for both is three times as fast as two.
_find_escape = re.compile(rb"\\[u/]").search
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_plain = msgspec.json.Decoder(dict[str, Any]).decode
_validate = msgspec.json.Decoder(msgspec.Raw).decode


def detect(path: Path, head: bytes) -> bool:
    """Tell whether the content begins as a JSON object or a line of messages, or is called JSON and no array."""
    start = as_utf8(head).lstrip()
    if start[:1] == b"[":
        return bool(MESSAGES_BEGUN.match(start)) and begins_lists(path)
    return start[:1] == b"{" or unpacked_name(path).suffix.lower() in SUFFIXES


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the file; raises InputError where no line of it is a JSON object."""
    reading.refuse_sheets(path, "JSON")
    encoding = find_encoding(path, reading.encoding, CHINESE_CODECS)
    commas = not reading.exact and _ends_with_comma(path, encoding)
    how = {"commas": commas, "exact": reading.exact}
    batches = ((piece.size, piece.rows()) for piece in _pieces(path, encoding, **how))
    first = peek_rows(batches)
    if not reading.exact and (one := conversation_table(path, first, batches)):
        return [one]
    note = _("lines end with a comma, read as JSON lines") if commas else ""
    return [table_of_rows(path, first, _pieces(path, encoding, **how), notes=(encoding.note, note), cut=True)]


def begins_lines(path: Path) -> bool:
    """Tell whether the first line is JSON by itself and another follows, or is broken rather than only begun."""
    blocks = utf8_blocks(path, find_encoding(path, guesses=CHINESE_CODECS))
    data = b""
    for block in blocks:
        data = (data + block).lstrip(BLANK)
        if b"\n" in data or len(data) > LONGEST:
            break
    line, newline, after = data.partition(b"\n")
    try:
        refuse_broken(line)
    except ValueError:
        return bool(newline or line.rstrip(BLANK)[-1:] == b",") and not _has_open_bracket(line)
    return bool(after.strip(BLANK) or next(blocks, b"").strip(BLANK))


def begins_lists(path: Path) -> bool:
    """Tell whether the first line is a list of messages by itself, and another list follows on a line of its own."""
    with open_unpacked(path) as file:
        data = file.read(BLOCK)
    # Brackets of UTF-16 and UTF-32 have NULs beside them.
    data = (as_utf8(data) if b"\0" in data[:CACHE_SIZE] else data.removeprefix(BOM)).lstrip(BLANK)
    line, _unused, after = data.partition(b"\n")
    return bool(MESSAGES_BEGUN.match(line)) and after.lstrip(BLANK)[:1] == b"[" and _is_json(line)


def _is_json(text: bytes) -> bool:
    """Tell whether `text` is JSON as msgspec reads it."""
    try:
        _validate(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _has_open_bracket(line: bytes) -> bool:
    """Tell whether brackets are open at the end of `line`; an open string cannot go on in the next line."""
    tokens = [token[0] for token in TOKEN.finditer(line)]
    depth = sum((token in {b"[", b"{"}) - (token in {b"]", b"}"}) for token in tokens)
    return depth > 0 and b'"' not in tokens


def _ends_with_comma(path: Path, encoding: Encoding) -> bool:
    """Tell whether the first line is an object with a comma behind it, as in an array without its brackets."""
    data = b""
    for block in utf8_blocks(path, encoding):
        data = (data + block).lstrip(BLANK)
        if b"\n" in data or len(data) > LONGEST:
            break
    line = data.partition(b"\n")[0].rstrip(BLANK)
    return line.startswith(b"{") and line.endswith(b",") and _is_json(line[:-1])


def peek_rows(batches: Iterable[tuple[int, Iterable[Row]]]) -> list[Row]:
    """Return the first rows of batches, which come with their size in bytes: not too many, and not too much."""
    first: list[Row] = []
    whole = 0
    for size, rows in batches:
        first += islice(rows, ROWS_PEEKED - len(first))
        whole += size
        if len(first) == ROWS_PEEKED or whole > LONGEST:
            break
    return first


def table_of_rows(path: Path, first: list[Row], pieces: Iterable[Piece], **other: Any) -> Table:
    """Return the table, its columns the keys of the `first` rows in order of appearance; `other` is for the Table."""
    columns = dict.fromkeys(key for row in first if not row.error for key in row.values)
    if not columns:
        broken = next((row for row in first if row.error), None)
        no_object = _("`{path}` holds no JSON object").format(path=path)
        if broken:
            raise InputError(joined(": ", (no_object, joined(" ", (broken.where.cell(""), broken.error)))))
        raise InputError(joined("; ", (no_object, _("it is empty"))))
    other["notes"] = tuple(filter(None, other["notes"]))
    return Table(file=path.name, columns=tuple(columns), pieces=pieces, first=tuple(first[:FIRST]), **other)


def conversation_table(path: Path, rows: list[Row], rest: Iterator[Any]) -> Table | None:
    """Return a table of one row of the messages of one conversation, if `rows` are that and the `rest` is empty."""
    if len(rows) >= ROWS_PEEKED or next(rest, None):
        return None
    if not rows or not message_keys(rows[0].values, {}) or any(row.error for row in rows):
        return None
    messages = [{key: decode_raw(value) for key, value in row.values.items()} for row in rows if row.values]
    if not is_one_conversation(messages):
        return None
    row = Row(Where(path.name, 1, "", "conversation"), {MESSAGE_COLUMN: messages})
    return table_of_rows(
        path,
        [row],
        [Rows(iter([row]))],
        notes=(
            _("its {messages} one conversation").format(messages=counted(len(messages), "message is", "messages are")),
        ),
    )


def read_rows(
    data: bytes, texts: Iterable[bytes | msgspec.Raw], file: str, unit: str, number: int, *, exact: bool = False
) -> Iterator[Row]:
    """Yield a row for each of `texts`, the JSON objects in `data`, counted from `number` in units of `unit`.

    Lists of messages are rows as well, unless the reading is `exact`.
    """
    valid = _is_utf8(data)
    escapes = _find_escape(data)
    for at, text in enumerate(texts, number):
        error = ""
        try:
            if escapes or not valid:
                text = bytes(text)  # noqa: PLW2901
            if not valid:
                text.decode()
            values = (_decode_plain if escapes and _find_escape(text) else _decode_raw)(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values, error = _decode_odd(bytes(text), exact=exact)
        else:
            error = "" if values else _("is an object without values")
        yield Row(Where(file, at, "", unit), values, error)


def json_value(text: bytes) -> Any:
    """Return what Python makes of a JSON text that msgspec refuses, such as half a surrogate pair.

    Raises ValueError, whose message says why, for what is no JSON, NaN included.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(_("it is nested too deeply")) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            _("{text} at character {position}").format(text=_(error.msg.removesuffix(" at")), position=error.pos + 1)
        ) from error


def refuse_broken(text: bytes) -> None:
    """Raise ValueError, whose message says why, where `text` is no JSON; bytes that do not decode are let pass."""
    try:
        _validate(text)
    except (msgspec.DecodeError, RecursionError):
        with suppress(UnicodeDecodeError):
            json_value(text)


def _decode_odd(text: bytes, *, exact: bool) -> tuple[dict[str, Any], str]:
    """Return the values, or what is wrong, and then the text as it stands under ""."""
    broken = {"": text.strip().decode(errors="backslashreplace")}
    if not exact and MESSAGES_BEGUN.match(text) and not _find_escape(text):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text.decode()
            return {MESSAGE_COLUMN: _validate(text)}, ""
    try:
        value = json_value(text) if text.strip() else {}
    except UnicodeDecodeError:
        return broken, _("holds bytes that do not decode")
    except ValueError as error:
        comma = _(" (it ends with a comma)") if text.rstrip(BLANK).endswith(b"},") else ""
        return broken, _("is not a JSON object: {error}{comma}").format(error=error, comma=comma)
    if not exact and isinstance(value, list) and value and isinstance(value[0], dict):
        return {MESSAGE_COLUMN: value}, ""
    return (
        (value, "")
        if isinstance(value, dict)
        else (broken, _("is `{text}`, not an object").format(text=shorten(text.decode().strip())))
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(_("`{name}` is not JSON").format(name=name))


def _is_utf8(data: bytes) -> bool:
    decode, view = codecs.getincrementaldecoder("utf-8")().decode, memoryview(data)
    try:
        for at in range(0, len(data), CACHE_SIZE):
            decode(view[at : at + CACHE_SIZE])
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


class Lines(msgspec.Struct, frozen=True):
    """A piece of a file, whole lines: bytes `start` to `end`, or `data` where the file is packed or not UTF-8.

    `commas` says that a comma at the end of a line is none of its own, `exact` that lists of messages are no rows.
    """

    path: Path
    start: int = 0
    end: int = 0
    data: bytes | None = None
    commas: bool = False
    exact: bool = False

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return self.end - self.start if self.data is None else len(self.data)

    def rows(self) -> Iterator[Row]:
        """Yield a row a line."""
        data = self.data
        if data is None:
            try:
                with self.path.open("rb") as file:
                    file.seek(self.start)
                    data = file.read(self.end - self.start)
            except OSError as error:
                raise InputError(
                    _("`{path}` cannot be read: {strerror}").format(path=self.path, strerror=error.strerror or error)
                ) from error
            data = data if self.start else data.removeprefix(BOM)
        lines = data.removesuffix(b"\n").split(b"\n")
        if self.commas:
            lines = [line.rstrip(BLANK).removesuffix(b",") for line in lines]
        return read_rows(data, lines, self.path.name, "line", 1, exact=self.exact)


def _pieces(path: Path, encoding: Encoding, **how: bool) -> Iterator[Lines]:
    """Yield the file in pieces of whole lines, of about a MiB each; `how` is for the pieces."""
    try:
        pieces = _copied_pieces(path, encoding) if encoding.codec != "utf-8" or is_packed(path) else _cut_pieces(path)
        yield from (replace(piece, **how) for piece in pieces)
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error


def _cut_pieces(path: Path) -> Iterator[Lines]:
    with path.open("rb") as file:
        start, size = 0, os.fstat(file.fileno()).st_size
        while start < size:
            file.seek(min(start + BLOCK, size))
            _refuse_long(path, len(file.readline(LONGEST)))
            end = file.tell()
            yield Lines(path, start, end)
            start = end


def _copied_pieces(path: Path, encoding: Encoding) -> Iterator[Lines]:
    rest = b""
    for block in utf8_blocks(path, encoding):
        lines, newline, after = block.rpartition(b"\n")
        if newline:
            yield Lines(path, data=rest + lines + newline)
            rest = b""
        rest += after
        _refuse_long(path, len(rest))
    if rest:
        yield Lines(path, data=rest)


def _refuse_long(path: Path, length: int) -> None:
    if length >= LONGEST:
        raise InputError(
            _("`{path}` holds a line of more than {longest} MiB, which is too long for a sample").format(
                path=path, longest=LONGEST >> 20
            )
        )
