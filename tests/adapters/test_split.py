"""Parts of a dataset."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.split import parse_split, parts
from ftbridge.core.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("text", "share"), [("7:3", Fraction(7, 10)), (" 1:1 ", Fraction(1, 2)), ("90:10", Fraction(9, 10))]
)
def test_a_split_is_two_whole_numbers(text, share):
    assert parse_split(text) == share


@pytest.mark.parametrize("text", ["7-3", "7", "", "0:1", "1:0", "0.7:0.3", "7:3:1", "seven:three"])
def test_any_other_split_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="7:3"):
        parse_split(text)


@given(st.integers(2, 500), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32), st.booleans())
def test_every_sample_is_in_one_part_and_both_parts_have_some(count, left, right, seed, shuffle):
    split = parts(count, f"{left}:{right}", seed, shuffle=shuffle)
    assert sorted([*split["train"], *split["test"]]) == list(range(count))
    assert split["train"]
    assert split["test"]
    assert abs(len(split["train"]) - count * left / (left + right)) <= 1


def test_690_rows_split_7_to_3_as_in_the_tutorial():
    split = parts(690, "7:3", 42, shuffle=True)
    assert (len(split["train"]), len(split["test"])) == (483, 207)


def test_the_seed_decides_the_order():
    first, again, other = (parts(100, "7:3", seed, shuffle=True)["train"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_without_a_shuffle_the_order_is_the_files():
    split = parts(10, "7:3", 42, shuffle=False)
    assert [list(part) for part in split.values()] == [list(range(7)), [7, 8, 9]]


def test_without_a_split_all_is_for_training():
    assert list(parts(3, None, 42, shuffle=True)["train"]) == [0, 1, 2]


def test_one_sample_cannot_be_split():
    with pytest.raises(InputError, match="1 sample cannot be split"):
        parts(1, "7:3", 42, shuffle=True)
