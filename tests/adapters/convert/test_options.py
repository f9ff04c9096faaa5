"""What is asked for, as text and as values."""

from decimal import Decimal

import msgspec
import pytest

import ftbridge
from ftbridge.adapters.convert.options import (
    ConvertOptions,
    MaxRejected,
    Split,
    options_as_json,
    options_from_json,
    parse_max_rejected,
    parse_sample,
    parse_split,
)
from ftbridge.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "split", "printed"),
    [
        ("7:3", Split({"train": 7, "test": 3}, shares=True), "7:3"),
        ("7\uff1a3", Split({"train": 7, "test": 3}, shares=True), "7:3"),
        (" 8:1:1 ", Split({"train": 8, "validation": 1, "test": 1}, shares=True), "8:1:1"),
        ("test=200", Split({"train": None, "test": 200}), "test=200"),
        ("test=2,validation=1,train=3", Split({"train": 3, "validation": 1, "test": 2}), "train=3,validation=1,test=2"),
    ],
)
def test_a_split_is_shares_or_numbers(text, split, printed):
    parsed = parse_split(text)
    assert (parsed, list(parsed.parts)) == (split, list(split.parts))
    assert str(parsed) == printed
    assert parse_split(printed) == parse_split(parsed) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *("7-3", "7", "", "0:1", "1:0", "0.7:0.3", "1:2:3:4", "train=5", "test=0", "test=1,test=2", "test=1,", "a=1"),
        *("9" * 5000, f"7:{'9' * 5000}", 5, ("7", "3")),
    ],
    ids=lambda text: str(text)[:20],
)
def test_any_other_split_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="7:3"):
        parse_split(text)


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ({"train": 7, "validation": 3}, True),
        ({"test": 3, "train": 7}, True),
        ({"train": 7, "test": None}, True),
        ({"train": None, "test": 3}, True),
        ({"test": 3}, False),
        ({"train": 3}, False),
        ({"train": 7, "test": None}, False),
        ({"test": 3, "train": 7}, False),
        ({"train": 7, "test": -3}, False),
        ({"train": 7, "exam": 3}, False),
        ({}, False),
    ],
)
def test_a_split_that_no_text_makes_is_refused(parts, shares):
    with pytest.raises(UsageError, match="7:3"):
        Split(parts, shares)


@pytest.mark.parametrize(
    ("sizes", "parsed"),
    [("500,100,100", (100, 500)), ("1\uff0c5", (1, 5)), ((5, 1), (1, 5)), (5, (5,)), ("", ()), ((), ())],
)
def test_subsets_are_sizes(sizes, parsed):
    assert parse_sample(sizes) == parsed


@pytest.mark.parametrize("sizes", ["0", "1,,2", "a", "-1", (0,), 0])
def test_any_other_subset_is_refused(sizes):
    with pytest.raises(UsageError, match="100,500"):
        parse_sample(sizes)


@pytest.mark.parametrize(("text", "allowed"), [("0", 0), (" 20 ", 20), (20, 20), ("1%", 2), ("0.5%", 1), ("100%", 250)])
def test_so_many_of_250_rows_may_be_rejected(text, allowed):
    maximum = parse_max_rejected(text)
    assert maximum.allowed(250) == allowed
    assert str(maximum) == str(text).strip()
    assert parse_max_rejected(str(maximum)) == parse_max_rejected(maximum) == maximum


def test_a_share_is_exact():
    assert parse_max_rejected("0.57%").allowed(10_000) == 57


@pytest.mark.parametrize("text", ["", "-1", "1.5", "%", "some", -1, None])
def test_any_other_number_is_refused(text):
    with pytest.raises(UsageError, match="20"):
        parse_max_rejected(text)


@pytest.mark.parametrize("values", [{"rows": -1}, {"percent": Decimal(-1)}, {"percent": Decimal("NaN")}])
def test_a_number_that_no_text_makes_is_refused(values):
    with pytest.raises(UsageError, match="20"):
        MaxRejected(**values)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, MaxRejected(0)),
        ({"on_error": "skip"}, MaxRejected(percent=Decimal(100))),
        ({"on_error": "skip", "max_rejected": MaxRejected(3)}, MaxRejected(3)),
    ],
)
def test_all_rows_are_tolerated_or_none_unless_a_number_is_given(options, allowed):
    assert ConvertOptions(**options).rejects_allowed == allowed


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, {"split": None, "max_rejected": ""}),
        (
            {"split": parse_split("7:3"), "max_rejected": parse_max_rejected("0.50%"), "sample": (1, 2)},
            {"split": "7:3", "max_rejected": "0.50%", "sample": [1, 2]},
        ),
    ],
)
def test_an_entry_has_the_text_of_what_was_asked(options, texts):
    asked = ConvertOptions(**options)
    values = options_as_json(asked)
    assert values.items() >= texts.items()
    assert list(values) == list(ConvertOptions.__struct_fields__)
    assert options_from_json(values) == asked


@pytest.mark.parametrize("values", [{"split": 5}, {"max_rejected": 5}, {"odd": 1}])
def test_what_is_in_no_entry_is_refused(values):
    with pytest.raises(msgspec.ValidationError):
        options_from_json(values)


@pytest.mark.parametrize("name", ["seed", "limit"])
def test_another_type_is_named(name):
    with pytest.raises(UsageError, match=rf"wrong type: `{name}` should be a whole number or null, not text"):
        ConvertOptions(**{name: "5"}).checked()


def test_values_are_taken_as_well_as_text(lines):
    source = lines(*({"question": f"q{at}", "answer": f"a{at}" if at else ""} for at in range(11)))
    by_text = ftbridge.convert(source, split="7:3", max_rejected="10%")
    values = {"split": ftbridge.Split({"train": 7, "test": 3}, shares=True), "max_rejected": ftbridge.MaxRejected(1)}
    assert not ftbridge.convert(source, split=values["split"], max_rejected="10%").changed
    assert ftbridge.convert(source, **values).parts == by_text.parts
