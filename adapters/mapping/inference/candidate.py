"""One way to read a table, and what stands in its first rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.formats import (
    ALTERNATING,
    STYLE_KEYS,
    is_surely_conversation,
    style_of,
    wants_answer,
)
from ftbridge.adapters.mapping.headers import HEADERS, normalize_header
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.values import decode_raw, is_blank, parse_container, shorten
from ftbridge.core.records import Table
from ftbridge.language import gettext as _
from ftbridge.language import joined

FIELDS = ("messages", *HEADERS)
BOOLEANS, TEXT, NUMBERS, LISTS, OBJECTS = _("true or false"), _("text"), _("numbers"), _("lists"), _("objects")
VALUE_TYPES = {bool: BOOLEANS, int: NUMBERS, float: NUMBERS, str: TEXT, list: LISTS, dict: OBJECTS}


class Candidate(msgspec.Struct, frozen=True):
    """One way to read a table: fields from columns, fields from templates, and the style of its messages."""

    name: str
    columns: dict[str, str]
    templates: dict[str, RowTemplate] = {}
    style: str = ""

    def in_words(self) -> str:
        """Return what it is called, and the source of each field."""
        fields = joined(
            _(", "),
            (
                _("{field} from `{source}`").format(field=field, source=shorten(source))
                for field, source in self.field_sources.items()
            ),
        )
        return _("{name} ({fields})").format(name=_(self.name), fields=fields)

    @property
    def field_sources(self) -> dict[str, str]:
        """Return the column or the text of the template that each field is from, in the order of the fields."""
        sources = self.columns | {field: each.template for field, each in self.templates.items()}
        return {field: sources[field] for field in FIELDS if field in sources}

    @property
    def used_columns(self) -> set[str]:
        """Return the columns of fields and those that templates use."""
        return {*self.columns.values(), *(column for each in self.templates.values() for column in each.columns)}


class ColumnSample(msgspec.Struct, frozen=True):
    """What stands in a column's first rows: types of values, an example, the style where they are conversations.

    `types` names them for people, `possible_style` is their style where the user says that they are messages, and
    `wants_answer` tells that these end with the user's.
    """

    types: tuple[str, ...]
    example: str
    style: str
    possible_style: str = ""
    wants_answer: bool = False

    @property
    def may_be_text(self) -> bool:
        """Tell whether some value is no list, object or conversation, so that it may be text, or there is none."""
        return not self.types or not {LISTS, OBJECTS, self.style, *STYLE_KEYS}.issuperset(self.types)


def sample_column(table: Table, column: str, roles: Mapping[str, str], tags: Mapping[str, str]) -> ColumnSample:
    """Return what stands in the first rows of a column; `roles` and `tags` explain those of messages."""
    values = [value for row in table.first if not is_blank(value := decode_raw(row.values.get(column)))]
    possible_styles = [style_of(value, roles, tags) for value in values]
    styles = _sure_styles(column, possible_styles, roles)
    if values and all(map(is_python_literal, values)):  # a list that a program wrote into a cell
        values = [*map(parse_container, values)]
    is_question = normalize_header(column) in HEADERS["instruction"]
    types = (
        style or VALUE_TYPES.get(type(value), type(value).__name__) for style, value in zip(styles, values, strict=True)
    )
    return ColumnSample(
        tuple(dict.fromkeys(types)),
        shorten(values[0]) if values else "",
        next(filter(None, styles), ""),
        next(filter(None, possible_styles), ""),
        any(styles) and all(wants_answer(value, roles, tags, unknown=is_question) for value in values),
    )


def _sure_styles(column: str, possible_styles: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the style of each value in a column, "" where it may as well be no conversation."""
    styles = [style if is_surely_conversation(column, style, roles) else "" for style in possible_styles]
    if ALTERNATING in styles and {*styles} != {ALTERNATING}:  # some of the lists of texts are no such
        return ["" for _unused in styles]
    return styles


def is_python_literal(value: Any) -> bool:
    """Tell whether a text is a list or an object as Python writes it, and not JSON, which may be the answer itself."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"} or isinstance(parse_container(value), str):
        return False
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def make_candidate(name: str, columns: dict[str, str], templates: dict[str, RowTemplate]) -> Candidate:
    """Return the Candidate with its fields in order; without an `instruction`, `input` becomes it."""
    if "instruction" not in columns.keys() | templates.keys():
        columns = {"instruction" if field == "input" else field: column for field, column in columns.items()}
        templates = {"instruction" if field == "input" else field: each for field, each in templates.items()}
    return Candidate(name, {field: columns[field] for field in FIELDS if field in columns}, templates)
