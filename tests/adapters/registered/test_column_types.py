"""What `datasets` makes of values; test_verdicts.py asks it itself."""

import pytest

from ftbridge.adapters.registered import column_types
from ftbridge.adapters.registered.column_types import NUMERAL, ColumnTypes
from ftbridge.adapters.values import DATE, BadValueError


def known(form, *records):
    found = ColumnTypes(form)
    for record in records:
        found.add(record)
    return found.known


def test_kinds_grow_with_the_records():
    assert known(
        "element", {"a": None, "b": []}, {"a": "x", "b": [{"c": 1}]}, {"b": [{"d": True, "c": 1.5}], "e": 1}
    ) == {
        "a": "text",
        "b": [{"c": "number", "d": "truth"}],
        "e": "number",
    }


@pytest.mark.parametrize(
    ("form", "values", "kind"),
    [
        ("line", ["2024-01-01", "2024-01-02 10:11"], "dates"),
        ("line", ["2024-01-01", "x"], "text"),
        ("line", ["x", "2024-01-01"], "text"),
        ("line", ["2024-01-01", ""], "text"),
        ("line", ["69"], "text"),
        ("element", ["2024-01-01"], "text"),
        ("csv", ["69", " 1e5", None], "numerals"),
        ("csv", ["True", "false"], "numerals"),
        ("csv", ["69", "x"], "text"),
        ("csv", ["2024-01-01"], "text"),
    ],
)
def test_column_gets_the_kind_that_loaders_take_it_for(form, values, kind):
    assert known(form, *({"a": value} for value in values)) == {"a": kind}


@pytest.mark.parametrize(
    ("text", "is_date"),
    [
        ("2024-01-01", True),
        ("2024-01-01T10", True),
        ("2024-01-01 10:11:12", True),
        ("2024-01-01T10:11:12Z", True),
        ("2024-01-01T10:11:12+02:00", True),
        ("2024-01", False),
        ("10:11:12", False),
        ("2024-01-01 10:11:12.5", False),
        ("2024-01-01 ", False),
    ],
)
def test_dates_are_what_pyarrow_takes_for_times(text, is_date):
    assert bool(DATE.fullmatch(text)) == is_date


def test_numerals_are_what_pandas_takes_for_numbers():
    assert all(NUMERAL.fullmatch(text) for text in ("1", "-1.5", ".5", "1.", "1e5", " 7 ", "TRUE", "inf"))
    assert not any(NUMERAL.fullmatch(text) for text in ("1_0", "0x10", "1,5", "yes", "", "1 2"))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": 1}, {"a": "x"}, "has text in `a`, where a record before has a number"),
        ({"a": 1}, {"a": True}, "has true or false in `a`, where a record before has a number"),
        ({"a": {"b": "x"}}, {"a": {"b": [1]}}, "has a list in `a.b`, where a record before has text"),
        ({"a": {}}, {"a": "x"}, "has text in `a`, where a record before has an object"),
        ({"a": []}, {"a": [1, "x"]}, "has text in `an element of a list`, where a record before has a number"),
    ],
)
def test_column_with_two_kinds_of_values_is_refused(first, second, message):
    with pytest.raises(BadValueError, match=message):
        known("element", first, second)


@pytest.mark.parametrize(("form", "limit"), [("line", "SETTLED_BYTES"), ("csv", "SETTLED_ROWS")])
def test_the_first_records_settle_the_kinds(monkeypatch, form, limit):
    monkeypatch.setattr(column_types, limit, 2)
    records = [{"a": "x", "b": []}, {"a": "y"}]
    assert known(form, *records, {"a": "z", "b": None})
    assert known("element", *records, {"c": 1})
    for late in ({"c": "x"}, {"b": ["x"]}):
        with pytest.raises(BadValueError, match=r"has a new type in `[bc]`: the first records settle the types"):
            known(form, *records, late)
