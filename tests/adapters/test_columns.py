"""Columns by their names."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ftbridge.adapters.columns import column_letter, column_listing, find_column, quoted_header, unique_headers
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.records import Table


def table(*columns, lettered=True):
    return Table(file="faq.xlsx", columns=columns, pieces=[], first=(), lettered=lettered)


@pytest.mark.parametrize(
    ("wanted", "column"),
    [
        ("B", "two"),
        ("b", "two"),
        ("TWO", "two"),
        (" two ", "two"),
        ("2", "two"),
        ("C", "C"),
        ("A", "C "),
        ("4", "1"),
        ("1", "C "),
        ('"1"', "1"),
    ],
)
def test_a_column_is_a_header_a_letter_or_a_number(wanted, column):
    assert find_column(table("C ", "two", "C", "1"), wanted) == column


def test_a_number_is_never_a_header_unless_it_is_quoted():
    years = table("2023", "2024", '"7"', lettered=False)
    assert [
        find_column(years, wanted) for wanted in ("1", '"2024"', '"7"', quoted_header("2023"), quoted_header('"7"'))
    ] == [
        "2023",
        "2024",
        '"7"',
        "2023",
        '"7"',
    ]
    with pytest.raises(UsageError, match='no column `2024`; the header `2024` goes in quotes: `"2024"`'):
        find_column(years, "2024")


@pytest.mark.parametrize("wanted", ["A", "1"])
def test_column_by_place_is_asked_about_where_headers_are_doubtful(wanted):
    unsure = replace(table("one", "two"), unsure=QuestionError("is it?", {"it is data": ["--header-row", "none"]}))
    assert find_column(unsure, "one") == "one"
    with pytest.raises(QuestionError, match="is it"):
        find_column(unsure, wanted)


@pytest.mark.parametrize("wanted", ["E", "0", "5", "tow", "", "ZZZ", "99999", "9" * 5000])
def test_a_column_that_is_not_there_is_named_with_those_that_are(wanted):
    with pytest.raises(UsageError, match=r"(?s)there is no column.*A `one`, B `two`"):
        find_column(table("one", "two"), wanted)


def test_the_closest_column_is_named():
    with pytest.raises(UsageError, match="did you mean `Answer`"):
        find_column(table("Question", "Answer"), "Anser")


def test_column_letter_for_json_keys_is_refused():
    keys = table("one", "two", lettered=False)
    assert find_column(keys, "2") == "two"
    with pytest.raises(UsageError, match="1 `one`, 2 `two`"):
        find_column(keys, "B")


def test_the_file_and_the_sheet_of_the_columns_are_named():
    assert column_listing(replace(table("one"), sheet="Q")) == "columns of faq.xlsx Q: A `one`"


def test_many_columns_are_listed_in_part():
    assert "and 5 more" in column_listing(table(*(f"c{number}" for number in range(35))))


@given(st.integers(1, 16384))
def test_column_letters_count_as_in_a_sheet(index):
    letters = column_letter(index)
    assert set(letters) <= set(string.ascii_uppercase)
    assert find_column(table(*(f"column {at}" for at in range(1, 16385))), letters) == f"column {index}"


def test_headers_that_are_missing_or_occur_twice_get_their_letter():
    assert unique_headers(["a", " b ", "", "a", "", " "]) == ("a [A]", "b", "[C]", "a [D]")
    with pytest.raises(InputError, match=r"several columns have the header `a \[A\]`"):
        unique_headers(["a", "a [A]", "a"])
