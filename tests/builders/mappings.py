"""Mappings of columns to fields, and rows to read by them."""

import msgspec

from ftbridge.adapters.mapping.fields import ColumnMapping
from ftbridge.core.records import Row, Where


def row(**values):
    """Return a row of a workbook with these values."""
    return Row(Where("faq.xlsx", 17, "Q"), values)


def raw(value):
    """Return a value as a source of JSON gives it, undecoded."""
    return msgspec.Raw(msgspec.json.encode(value))


def mapping(columns, **options):
    """Return the mapping of fields to `columns`, which are all that the table has."""
    return ColumnMapping(columns=columns, known_columns=frozenset(columns.values()), **options)


QA = mapping({"instruction": "q", "output": "a"}, system="be kind")
