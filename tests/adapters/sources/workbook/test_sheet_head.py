"""Where the headers of a sheet stand; test_source.py reads whole workbooks."""

import pytest

from ftbridge.adapters.sources.workbook.reader import Page
from ftbridge.adapters.sources.workbook.sheet_head import find_head, header_text
from ftbridge.core.records import Reading

FAQ = [["question", "answer"], ["why?", "because"]]


def head(rows, start=1, merged=(), hidden=0, **reading):
    """Return what the first rows of a sheet tell."""
    return find_head("faq.xlsx", Page("Q", start, merged, hidden=hidden), rows, Reading(**reading))


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        (FAQ, 1),
        ([["FAQ 2024"], [], ["by", "us"], *FAQ], 4),
        ([["FAQ 2024"], [], ["by", "us"], ["x", "y", "z", "w"], [1, 2, 3, 4], [1, 2, 3, 4]], 4),
        ([["x", "", "z"], ["a", "b", "c"], ["d", "e", "f"]], 1),
        ([["x"], ["a"], ["b"]], 1),
        ([["2024", "2025"], ["x", "y"], [1, 2]], 2),
    ],
)
def test_headers_are_the_first_row_that_may_be_some(rows, row):
    found = head(rows, start=3)
    assert found.columns == tuple(name or "[B]" for name in rows[row - 1])
    assert found.start == row + 3
    assert [note for note in found.notes if f"are in row {row + 2};" in note] == [*found.notes][: row > 1]


def test_headers_that_are_missing_or_double_get_the_letter_of_their_column():
    assert head([["answer", "", " answer ", "x\n"], [1, 2, 3, 4]]).columns == ("answer [A]", "[B]", "answer [C]", "x")


def test_header_row_that_is_asked_for_is_taken():
    rows = [["FAQ 2024"], [], ["by", "us"], *FAQ]
    assert head(rows, header_row=3).columns == ("by", "us")
    none = head(rows, header_row=0)
    assert (none.columns, none.start, none.named, none.notes) == (("A", "B"), 1, False, ())
    for row in (2, 7):
        assert head(rows, header_row=row).columns == ()


def test_headers_like_the_rows_below_are_doubted_with_a_note():
    found = head([[1, 2], [3, 4]])
    assert [*found.found.unsure.answers.values()] == [["--header-row", "none"], ["--header-row", "1"]]
    assert found.notes == ("row 1 is read as the headers (`1`, `2`); if it is data, add `--header-row none`",)
    assert head([["x", "y"], ["a", "b"]]).found.unsure is None


def test_first_row_of_sentences_is_doubted_as_headers():
    found = head([["怎么退货？", "在订单页申请。"], *[["多久发货？", "48小时内。"]] * 2])
    assert found.found.unsure
    assert "`--header-row none`" in " ".join(found.notes)


def test_title_above_repeated_headers_is_not_asked_about():
    assert not head([["第一部分"], *FAQ, ["第二部分"], *FAQ]).found.asks


def test_headers_over_several_columns_are_divided_by_the_row_below():
    found = head([["Question", "", "Answer", ""], ["en", "zh", "en", "zh"], ["why?", "为何", "so", "因此"]])
    assert found.start == 3
    assert "row 2 is skipped: it divides the headers" in " ".join(found.notes)


def test_values_beyond_the_headers_hidden_rows_and_merged_cells_are_told():
    assert "column C" in head([*FAQ, ["how?", "so", "stray"]]).notes[0]
    assert head(FAQ, hidden=1).notes[0].startswith("1 row is hidden in the sheet `Q`")
    assert "as in A2:B3; `--fill-merged`" in head(FAQ, merged=(2, 1, 3, 2)).notes[0]
    assert not head(FAQ, merged=(2, 1, 3, 2), fill_merged=True).notes


def test_header_of_a_number_is_its_text_and_an_error_is_none():
    assert [header_text(cell) for cell in (2024.0, " x ", ["#N/A"], [True, 12345678901234567], "")] == [
        *("2024", "x", "", "12345678901234567", ""),
    ]
