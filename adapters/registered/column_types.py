"""The types that `datasets`, with which both frameworks load, gives to the values of a file.

It has one type for a column, and settles the types on the first 10 MiB of JSON lines, 10,000 rows of CSV, or the
first of several files. Text is not always text: a column of JSON lines that holds nothing but dates becomes times
(in a JSON array it does not), and a CSV column of nothing but numbers becomes numbers.
"""

import re
from typing import Any

import msgspec

from ftbridge.adapters.values import DATE, TYPE_NAMES, BadValueError, type_name, with_article
from ftbridge.language import gettext as _

# None for null, a word for a scalar, a list of the one type of its elements, or a dict of types.
ColumnType = Any
TEXTS = {"text", "dates", "numerals"}
NUMERAL = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|[Tt]rue|TRUE|[Ff]alse|FALSE)\s*")
# By form: text that is loaded as something else where a column holds nothing else, and the word for it.
MISTAKEN = {"line": (DATE, "dates"), "csv": (NUMERAL, "numerals")}
SETTLED_BYTES, SETTLED_ROWS = 10 << 20, 10_000


class ColumnTypes:
    """The types of the columns so far, by name; `form` is "line" for JSON lines, "csv", or anything else.

    `settled` says that they stay as they are, as they do from the second file on.
    """

    def __init__(self, form: str) -> None:
        self.known: dict[str, ColumnType] = {}
        self.settled = False
        self._form = form
        self._size = 0

    def add(self, values: dict[str, Any]) -> None:
        """Take in a record; raises BadValueError where its types do not go with those before."""
        known = _common_type(self.known, self._type_of(values), "")
        if self.settled and known != self.known:
            column = next(key for key in known if known[key] != self.known.get(key, ...))
            raise BadValueError(
                _("has a new type in `{column}`: the first records settle the types").format(column=column)
            )
        self.known = known
        if self._form == "line":
            self._size += len(msgspec.json.encode(values)) + 1
            self.settled |= self._size > SETTLED_BYTES
        elif self._form == "csv":
            self._size += 1
            self.settled |= self._size >= SETTLED_ROWS

    def _type_of(self, value: Any) -> ColumnType:
        if isinstance(value, str):
            pattern, word = MISTAKEN.get(self._form, (None, ""))
            return word if pattern and pattern.fullmatch(value) else "text"
        if isinstance(value, dict):
            return {key: self._type_of(each) for key, each in value.items()}
        if isinstance(value, list):
            item = None
            for each in value:
                item = _common_type(item, self._type_of(each), _("an element of a list"))
            return [item]
        if value is None:
            return None
        return "truth" if isinstance(value, bool) else "number"


def _common_type(known: ColumnType, new: ColumnType, path: str) -> ColumnType:
    """Return the type that holds both; raises BadValueError, naming the column's `path`, where there is none."""
    if new is None or known == new:
        return known
    if known is None:
        return new
    if isinstance(known, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*known, *new])
        return {key: _common_type(known.get(key), new.get(key), f"{path}.{key}".lstrip(".")) for key in keys}
    if isinstance(known, list) and isinstance(new, list):
        return [_common_type(known[0], new[0], path)]
    if isinstance(known, str) and isinstance(new, str) and {known, new} <= TEXTS:
        return "text"
    raise BadValueError(
        _("has {type_in_words} in `{path}`, where a record before has {known_type_in_words}").format(
            type_in_words=_type_in_words(new), path=path, known_type_in_words=_type_in_words(known)
        )
    )


def _type_in_words(column_type: ColumnType) -> str:
    if isinstance(column_type, dict | list):
        return with_article(type_name(column_type))
    if column_type in TEXTS:
        return TYPE_NAMES[str]
    return with_article(TYPE_NAMES[bool if column_type == "truth" else int])
