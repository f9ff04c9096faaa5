"""One way to read a table, and what was seen of it."""

from collections.abc import Mapping
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
from ftbridge.adapters.values import TYPE_NAMES, decode_raw, is_blank, parse_container, shorten
from ftbridge.core.records import Table

FIELDS = ("messages", *HEADERS)
BOOLEANS, TEXT = TYPE_NAMES[bool], TYPE_NAMES[str]
NUMBERS, LISTS, OBJECTS = (f"{TYPE_NAMES[kind]}s" for kind in (int, list, dict))
VALUE_TYPES = {bool: BOOLEANS, int: NUMBERS, float: NUMBERS, str: TEXT, list: LISTS, dict: OBJECTS}


class Candidate(msgspec.Struct, frozen=True):
    """One way to read a table: fields from columns, fields from templates, and the style of its messages."""

    name: str
    columns: dict[str, str]
    prompts: dict[str, RowTemplate] = {}
    style: str = ""

    def __str__(self) -> str:
        fields = ", ".join(f"{field} from `{shorten(source)}`" for field, source in self.sources.items())
        return f"{self.name} ({fields})"

    @property
    def sources(self) -> dict[str, str]:
        """Return the column or the template of each field, in order."""
        known = self.columns | {field: each.template for field, each in self.prompts.items()}
        return {field: known[field] for field in FIELDS if field in known}

    @property
    def used(self) -> set[str]:
        """Return all columns that are used."""
        return {*self.columns.values(), *(column for each in self.prompts.values() for column in each.columns)}


class ColumnSample(msgspec.Struct, frozen=True):
    """What stands in a column's first rows: kinds of values, an example, and the style where they are messages.

    `maybe` is their style where the user says that they are messages; `open` tells that they want an answer.
    """

    kinds: tuple[str, ...]
    example: str
    style: str
    maybe: str = ""
    open: bool = False

    @property
    def readable(self) -> bool:
        """Tell whether some of it may be text."""
        return not self.kinds or not {LISTS, OBJECTS, self.style, *STYLE_KEYS}.issuperset(self.kinds)


def sample_column(table: Table, column: str, roles: Mapping[str, str], tags: Mapping[str, str]) -> ColumnSample:
    """Return what stands in the first rows of a column; `roles` and `tags` say more of messages than they do."""
    values = [value for row in table.first if not is_blank(value := decode_raw(row.values.get(column)))]
    maybe = [style_of(value, roles, tags) for value in values]
    sure = [style if is_surely_conversation(column, style, roles) else "" for style in maybe]
    if ALTERNATING in sure and {*sure} != {ALTERNATING}:
        sure = [""] * len(sure)
    if values and all(map(is_python_literal, values)):  # a list that a program wrote into a cell
        values = [*map(parse_container, values)]
    asking = normalize_header(column) in HEADERS["instruction"]
    kinds = (
        style or VALUE_TYPES.get(type(value), type(value).__name__) for style, value in zip(sure, values, strict=True)
    )
    return ColumnSample(
        tuple(dict.fromkeys(kinds)),
        shorten(values[0]) if values else "",
        next(filter(None, sure), ""),
        next(filter(None, maybe), ""),
        any(sure) and all(wants_answer(value, roles, tags, unknown=asking) for value in values),
    )


def is_python_literal(value: Any) -> bool:
    """Tell whether a text is a list or an object as Python writes it, and not JSON, which may be the answer itself."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"} or isinstance(parse_container(value), str):
        return False
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def make_candidate(name: str, columns: dict[str, str], prompts: dict[str, RowTemplate]) -> Candidate:
    """Return a Candidate; without an `instruction`, `input` becomes it."""
    if "instruction" not in columns.keys() | prompts.keys():
        columns = {"instruction" if field == "input" else field: column for field, column in columns.items()}
        prompts = {"instruction" if field == "input" else field: each for field, each in prompts.items()}
    return Candidate(name, {field: columns[field] for field in FIELDS if field in columns}, prompts)
