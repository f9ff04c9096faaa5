"""Cell and JSON values as text, in one place for all sources.

`69.0` is `"69"`, `1e-05` is `"0.00001"`, `None` is `""`, a JSON `true` is `"true"`; a list is no text.
"""

import ast
import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw

from ftbridge.core.records import Text
from ftbridge.language import gettext as _
from ftbridge.language import to_translate

# Above this a float no longer holds every whole number, and digits written out would be made up.
LARGEST_EXACT = 2**53
# Numbers of more digits than this before or after the point keep their exponent.
MOST_DIGITS = 21
# How deeply brackets may be nested in a Python literal that is read, and how many tokens it may have.
DEEPEST, MOST_PARTS = 50, 100_000
_NOTATION = re.compile(
    r"""\s*(?:(?P<open>[\[({])|(?P<close>[\])}])|(?P<mark>[,:])|(?P<value>
    '(?:[^'\\\n]|\\(?:[\\'"abfnrtv]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}))*+'
    |"(?:[^"\\\n]|\\(?:[\\'"abfnrtv]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}))*+"
    |-?\d++(?:\.\d*+)?(?:e[-+]?\d{1,3})?+|True|False|None))\s*""",
    re.VERBOSE,
)
# An ISO 8601 date, with or without a time and its offset.
DATE = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([ T]([01]\d|2[0-3])(:?[0-5]\d(:?[0-5]\d)?)?(Z|[+-]\d\d(:?\d\d)?)?)?"
)
# No context of a model that can be trained on holds more; it is a cell that a stray quote made.
LONGEST = 1_000_000
EMPTY = Raw(b'""')
# Text that stands for no value where a list or an object would be: of tools, say.
NULL_TEXTS = {"", "[]", "{}", "null", "none"}
# JSON text that begins with a character that is surely no blank: neither an escape nor the first byte of one of
# Unicode's blanks (U+0085, U+00A0, U+1680, U+2000 to U+205F, U+3000).
_SURELY_FILLED = re.compile(rb'"[!#-\[\]-\x7f\xc3-\xe0\xe4-\xff]').match


class BadCell(msgspec.Struct, frozen=True):
    """A cell that is there and holds no value, such as `#N/A`; it is wrong only where its column is used."""

    value: str
    reason: str = _("is an error value of the workbook")


class BadValueError(ValueError):
    """A value that is no text; the message says why."""


# Names of types, in English as JSON has them.
TYPE_NAMES = {
    str: to_translate("text"),
    bool: to_translate("true or false"),
    int: to_translate("number"),
    float: to_translate("number"),
    Decimal: to_translate("number"),
    list: to_translate("list"),
    tuple: to_translate("list"),
    dict: to_translate("object"),
    BadCell: to_translate("error"),
    type(None): to_translate("nothing"),
}


def type_name(value: Any) -> str:
    """Return the name of a value's type for people: text, number, true or false, list, object, date ..."""
    return TYPE_NAMES.get(type(value), to_translate("date") if hasattr(value, "isoformat") else type(value).__name__)


def with_article(type_name: str) -> str:
    """Return the name of a type as it is in a sentence, in the user's language: `a number`, `an object`, `text`."""
    return {
        "text": _("text"),
        _("true or false"): _("true or false"),
        "number": _("a number"),
        "list": _("a list"),
        "object": _("an object"),
        "error": _("error"),
        "nothing": _("nothing"),
        "date": _("date"),
    }.get(type_name, type_name)


def as_text(value: Any) -> str:
    """Return `value` as the text that a person sees, None as ""; raises BadValueError for lists, objects, errors."""
    value = decode_raw(value)
    if isinstance(value, str):
        if "\0" in value:
            raise BadValueError(_("holds a NUL character"))
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, Decimal)):
        return _number_text(value)
    if isinstance(value, BadCell):
        raise BadValueError(value.reason)
    if isinstance(value, (dict, list, tuple, bytes)):
        raise BadValueError(_("holds {type_name}, not text").format(type_name=with_article(type_name(value))))
    try:
        return str(value)
    except ValueError as error:  # Python writes no whole number of more than 4,300 digits
        raise BadValueError(_("is a number of too many digits")) from error


def checked_text(value: Any, longest: int = LONGEST, *, strip: bool = False) -> str:
    """Return `value` as text that can be written; raises BadValueError for what is no text, or more than `longest`."""
    written = as_text(value)
    if strip:
        written = written.strip()
    if len(written) > longest:
        raise BadValueError(
            _("has {count:,} characters, more than `--max-characters` {longest:,}").format(
                count=len(written), longest=longest
            )
        )
    try:
        written.encode()
    except UnicodeEncodeError as error:
        raise BadValueError(_("holds half of a surrogate pair")) from error
    return written


def quick_text(value: Any, longest: int) -> Text | None:
    """Return text that a quick look finds nothing wrong with, "" for no value, else None: it needs `checked_text`."""
    kind = type(value)
    if kind is Raw:
        if value == EMPTY:
            return ""
        if len(value) <= longest and _SURELY_FILLED(value):
            return value  # type: ignore[no-any-return]
        value = decode_raw(value)
        kind = type(value)
    if kind is int and -LARGEST_EXACT < value < LARGEST_EXACT:
        value, kind = str(value), str
    if kind is str:
        good = len(value) <= longest and "\0" not in value and not value.isspace()
        return value if good else None
    return "" if value is None else None


def decode_raw(value: Any) -> Any:
    """Return the value of a `Raw`, JSON as it stood in the source; anything else as it is."""
    if not isinstance(value, Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):  # a number beyond Python's, or nested too deeply
        return bytes(value).decode()


def parse_list(value: Any) -> Any:
    """Return the list that `value` is, or that it holds as text (see `parse_container`); anything else as it is."""
    value = decode_raw(value)
    return parse_container(value) if isinstance(value, str) and value.lstrip().startswith("[") else value


def parse_container(value: Any) -> Any:
    """Return the list or the object that `value` is, or that it holds as text; anything else as it is.

    The text may be JSON, or what Python or NumPy writes, as in a CSV file that pandas made.
    """
    value = decode_raw(value)
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"}:
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return _parse_python_literal(value)


def _parse_python_literal(text: str) -> Any:
    """Return the list that `text` is in Python's notation, tuples as lists, the text itself where it is none.

    NumPy leaves out the commas between values. Names, calls and operators are none of the notation.
    """
    written, depth, at, count, ended = [], 0, 0, 0, False
    notation = text.strip()
    while at < len(notation):
        part = _NOTATION.match(notation, at)
        count += 1
        if not part or count > MOST_PARTS:
            return text
        kind, at = part.lastgroup, part.end()
        depth += (kind == "open") - (kind == "close")
        if depth > DEEPEST or (depth < 1 and at < len(notation)):
            return text
        if ended and kind in {"open", "value"}:
            if not notation[part.start(part.lastindex or 0) - 1].isspace():
                return text
            written.append(",")
        token = part[0].strip()
        written.append({"(": "[", ")": "]"}.get(token, token))
        ended = kind in {"close", "value"}
    try:
        return ast.literal_eval("".join(written))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def is_blank(value: Any) -> bool:
    """Tell whether `value` is None, text without more than blanks, or an empty list or object."""
    value = decode_raw(value)
    return not value.strip() if isinstance(value, str) else value is None or value in ([], {})


def holds_nothing(value: Any) -> bool:
    """Tell whether `value` is empty, written so (`"[]"`, `"null"`), or a list or object of nothing else."""
    value = decode_raw(value)
    if isinstance(value, str):
        return value.strip().lower() in NULL_TEXTS
    if isinstance(value, (list, dict)):
        return all(each in (None, "") for each in (value.values() if isinstance(value, dict) else value))
    return value is None


def shorten(value: Any, width: int = 40) -> str:
    """Return `value` on one line, shortened to `width` characters, for a message."""
    value = decode_raw(value)
    try:
        line = value if isinstance(value, str) else as_text(value)
    except BadValueError:
        line = value.value if isinstance(value, BadCell) else _notation(value)
    line = "".join(char if char.isprintable() else " " for char in line[: width * 2])
    return line if len(line) <= width else line[: width - 1] + "…"


def _notation(value: Any) -> str:
    """Return the JSON of a list or an object, and Python's notation of what JSON does not have."""
    try:
        with suppress(TypeError):  # such as a key that is no text
            if isinstance(value, (dict, list)):
                return json.dumps(value, default=str, ensure_ascii=False)
        return repr(value)
    except RecursionError:
        return _("a value that is nested too deeply")


def _number_text(value: float | Decimal) -> str:
    """Return the shortest digits that are read as the same number again."""
    shortest = float.__repr__(value).removesuffix(".0") if isinstance(value, float) else str(value)
    number = Decimal(shortest)
    if not number.is_finite():
        raise BadValueError(_("is not a finite number"))
    if shortest == "-0":
        return "0"
    return format(number, "f") if "e" in shortest.lower() and abs(number.adjusted()) < MOST_DIGITS else shortest
