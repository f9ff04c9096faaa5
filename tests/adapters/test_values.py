"""Values as text."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.values import BadCell, BadValueError, shown, text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (69.0, "69"),
        (69, "69"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (12345678901234567890, "12345678901234567890"),
        (True, "true"),
        (False, "false"),
        (dt.date(2019, 1, 2), "2019-01-02"),
        (dt.time(10, 30), "10:30:00"),
        (Decimal("1.50"), "1.50"),
        ("n/a", "n/a"),
        (" \u00a0", " \u00a0"),
        (msgspec.Raw(b'"a\\n"'), "a\n"),
        (msgspec.Raw(b"1.0"), "1"),
        (msgspec.Raw(b"1e400"), "1e400"),
    ],
)
def test_values_become_the_text_a_person_sees(value, expected):
    assert text(value) == expected


@pytest.mark.parametrize("value", [[], {}, ("a",), b"a", "a\0b", float("nan"), float("inf"), BadCell("#N/A")], ids=repr)
def test_what_is_no_text_is_refused(value):
    with pytest.raises(BadValueError):
        text(value)


@given(st.text().filter(lambda value: "\0" not in value))
def test_text_stays_as_it_is(value):
    assert text(value) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_number_when_read_again(value):
    assert float(text(value)) == value


def test_a_value_in_a_message_is_one_short_line():
    assert shown("a\nb") == "a b"
    assert shown("x" * 41) == "x" * 39 + "…"
    assert shown(BadCell("#N/A")) == "#N/A"
    assert shown([1]) == "[1]"
