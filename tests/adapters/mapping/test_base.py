"""Rows whatever their fields: one that cannot be read, columns that turn up later, and labels."""

import pytest

from ftbridge.adapters.mapping.fields import ColumnMapping
from ftbridge.adapters.values import BadValueError
from ftbridge.core.records import Row, Where

from ...builders.mappings import QA, mapping, raw, row  # noqa: TID252


def test_a_row_that_cannot_be_read_says_why():
    broken = Row(Where("faq.jsonl", 3), {}, error="is not a JSON object")
    (problem,) = QA.problems(broken)
    assert (problem.address, problem.reason) == ("line 3", "is not a JSON object")
    with pytest.raises(BadValueError):
        QA.conversation(broken)


def test_a_known_column_that_comes_late_is_not_lost_silently():
    columns = mapping({"instruction": "q", "output": "a"}, watched_fields=frozenset(["history"]))
    late = row(q="x", a="y", history=[["z", "z"]])
    with pytest.raises(BadValueError):
        columns.conversation(late)
    assert [(each.field, each.column) for each in columns.problems(late)] == [("history", "history")]
    assert [each.column for each in columns.problems(row(q="x", a="y", tools=[{}]))] == ["tools"]
    for empty in ({"other": 1}, {"history": []}, {"tools": None}):
        assert columns.conversation(row(q="x", a="y", **empty))
    decided = mapping(QA.columns, watched_fields=frozenset(["history"]), user_decided=True)
    assert decided.conversation(late)


def test_label_comes_from_a_column_or_a_field():
    by_column = ColumnMapping(columns=QA.columns, known_columns=frozenset("qac"), label_column="c")
    assert by_column.conversation(row(q="x", a="y", c=raw(1.0))).label == "1"
    assert by_column.conversation(row(q="x", a="y")).label == ""
    (problem,) = by_column.problems(row(q="x", a="y", c=["z"]))
    assert (problem.field, problem.column, problem.reason) == ("stratify", "c", "holds a list, not text")
    with pytest.raises(BadValueError):
        by_column.conversation(row(q="x", a="y", c=["z"]))
    by_field = mapping(QA.columns, label_field="system", system="s")
    assert by_field.conversation(row(q=raw("x"), a=raw("y"))).label == "s"
