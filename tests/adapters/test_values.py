"""Values as text."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.values import (
    BadCell,
    BadValueError,
    as_text,
    checked_text,
    decode_raw,
    is_blank,
    parse_list,
    quick_text,
    shorten,
)

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.decimals(-1, 1))


def raw(value):
    return msgspec.Raw(msgspec.json.encode(value))


def as_id(value):
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (69.0, "69"),
        (69, "69"),
        (0.1, "0.1"),
        (0.25, "0.25"),
        (1e-05, "0.00001"),
        (-0.0, "0"),
        (1e16, "10000000000000000"),
        (2.0**53 + 2, "9007199254740994"),
        (1e300, "1e+300"),
        (12345678901234567890, "12345678901234567890"),
        (raw(12345678901234567890123), "12345678901234567890123"),
        (msgspec.Raw(b"1e400"), "1e400"),
        (True, "true"),
        (False, "false"),
        (dt.date(2019, 1, 2), "2019-01-02"),
        (dt.datetime(2019, 1, 2, 10, 30), "2019-01-02 10:30:00"),  # noqa: DTZ001 - a cell knows no time zone
        (dt.time(10, 30), "10:30:00"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E-7"), "0.0000001"),
        ("n/a", "n/a"),
        (" \u00a0", " \u00a0"),
        (raw("你\n"), "你\n"),
    ],
)
def test_values_become_the_text_a_person_sees(value, expected):
    assert as_text(value) == expected


@pytest.mark.parametrize(
    "value",
    [[], {}, ("a",), b"a", "a\0b", float("nan"), float("inf"), Decimal("NaN"), 10**5000, BadCell("#N/A"), raw([1])],
    ids=lambda value: str(type(value)),
)
def test_value_that_is_no_text_is_refused(value):
    with pytest.raises(BadValueError):
        as_text(value)
    assert quick_text(value, 10**6) is None


@given(st.text().filter(lambda value: "\0" not in value))
def test_any_text_is_returned_unchanged(value):
    assert as_text(value) == value


@given(NUMBERS)
def test_a_number_is_the_same_number_when_read_again(value):
    assert type(value)(as_text(value)) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("\ud800", "holds half of a surrogate pair"),
        ("x" * 6, "has 6 characters, more than `--max-characters` 5"),
        (raw("x" * 6), "has 6 characters"),
        ([1], "holds a list, not text"),
    ],
    ids=as_id,
)
def test_text_that_cannot_be_written_is_refused(value, reason):
    with pytest.raises(BadValueError, match=reason):
        checked_text(value, 5)


def test_ends_are_stripped_only_when_asked():
    assert checked_text("\u00a0a b\u3000\n") == "\u00a0a b\u3000\n"
    assert checked_text("\u00a0a b\u3000\n", strip=True) == "a b"


@given(st.one_of(st.none(), st.text(), NUMBERS.filter(lambda value: not isinstance(value, Decimal))), st.booleans())
def test_quick_check_of_a_value_passes_nothing_that_the_full_check_refuses(value, as_json):
    # Sources leave `\\u` escapes to the decoder, so JSON as it stands holds no control characters but these.
    if isinstance(value, str) and any(char < " " and char not in "\b\t\n\f\r" for char in value):
        as_json = False
    seen = quick_text(raw(value) if as_json else value, 8)
    if seen is not None:
        assert decode_raw(seen) == checked_text(value, 8)
        assert is_blank(value) == (seen == "")


def test_undecoded_json_text_passes_unless_blank_or_too_long():
    value = raw("为什么?\n")
    assert quick_text(value, 100) is value
    assert quick_text(raw("\u3000"), 100) is None
    assert quick_text(raw(" a"), 100) == " a"


@pytest.mark.parametrize("value", [None, "", " \u3000\n", [], {}, raw(""), raw([]), raw(None)], ids=as_id)
def test_empty_value_is_blank(value):
    assert is_blank(value)


@pytest.mark.parametrize("value", [0, False, "x", [0], raw(0), BadCell("#N/A")], ids=as_id)
def test_value_with_content_is_not_blank(value):
    assert not is_blank(value)


def test_value_shown_in_a_message_is_one_short_line():
    deep = value = []
    for _ in range(5000):
        deep.append([])
        deep = deep[0]
    assert shorten("a\nb") == "a b"
    assert shorten("x" * 41) == "x" * 39 + "…"
    assert shorten(BadCell("#N/A")) == "#N/A"
    assert shorten([1]) == "[1]"
    assert shorten({"药": [True, None, dt.date(2026, 1, 2)]}) == '{"药": [true, null, "2026-01-02"]}'
    assert shorten({(1, 2): "a"}) == "{(1, 2): 'a'}"
    assert shorten(value) == "a value that is nested too deeply"


@pytest.mark.parametrize("value", ['[["a", 1]]', ' [["a", 1]]\n', msgspec.Raw(b'[["a",1]]'), [["a", 1]]])
def test_a_list_may_stand_as_json_in_text(value):
    assert parse_list(value) == [["a", 1]]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (
            "[{'role': 'user', 'content': \"it's\"}, {'n': None, 't': True}]",
            [{"role": "user", "content": "it's"}, {"n": None, "t": True}],
        ),
        ("[{'a': -1.5e-05}\n {'a': 1.}]", [{"a": -1.5e-05}, {"a": 1.0}]),
        ("['a' 'b'\n \"c'\"]", ["a", "b", "c'"]),
        ("[('q', 'a'), ('r',)]", [["q", "a"], ["r"]]),
        (r"['\'\\\n\x00\u4f60\U0001f600']", ["'\\\n\0你\U0001f600"]),
        ("[]", []),
    ],
)
def test_a_list_may_stand_in_text_as_python_and_numpy_write_it(written, value):
    assert parse_list(written) == value


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(DATA, max_size=4))
def test_list_written_by_repr_is_read_back(value):
    assert parse_list(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "[__import__('os').getcwd()]",
        "[a]",
        "[1] + [2]",
        "[1-2]",
        "[1](2)",
        "['a'] ['b']",
        "['a'%1]",
        "[b'a']",
        "[f'{1}']",
        "[0x10]",
        "[{[1]: 2}]",
        r"['\N{DASH}']",
        r"['\d']",
        "['a\nb']",
        "['a",
        "[1, 2",
        "[1]]",
        "[" + "(" * 60 + ")" * 60 + "]",
        "['a'" + ", 1" * 100_000 + "]",
        "[" + "1" * 5000 + ", 'a']",
        "[{'a': 1} ... {'a': 2}]",
        " [a] ",
    ],
    ids=lambda text: text[:20],
)
def test_text_that_could_be_code_stays_text(text):
    assert parse_list(text) == text


@pytest.mark.parametrize("value", ["[1", "[" * 100_000, '["\ud800"]', "[a]", "text", '{"a": 1}', 7, None])
def test_value_that_is_no_list_stays_as_it_is(value):
    assert parse_list(value) == value


def test_a_value_in_a_message_is_written_as_in_a_sample():
    assert [shorten(each) for each in (69.0, True, None, raw(None), "a\0b")] == ["69", "true", "", "", "a b"]
    assert shorten(float("nan")) == "nan"
