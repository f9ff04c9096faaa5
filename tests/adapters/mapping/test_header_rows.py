"""Rows of headers."""

import pytest

from ftbridge.adapters.mapping.header_rows import (
    DATA,
    SURE,
    UNSURE,
    FirstRows,
    header_certainty,
    is_rule,
    next_table_row,
    repeats_headers,
    rival_header_row,
    suspicious_cells,
)


@pytest.mark.parametrize(
    ("cells", "columns", "again"),
    [
        (["问题", "答案"], ["问题", "答案"], True),
        (["Question", "Answer"], ["问题", "答案"], True),
        (["No.", "QUESTION", "Answer", "Remark"], ["编号", "问题", "答案", "备注"], True),
        (["a b", "c"], ["A_b", "c"], True),
        (["answer", "question"], ["question", "answer"], False),
        (["question", "yes"], ["question", "answer"], False),
        (["q", "a"], ["question", "answer"], False),
        (["question", ""], ["question", "answer"], False),
        (["0", "0"], ["0 [A]", "0 [B]"], False),
        (["x", "y"], [], False),
    ],
)
def test_row_that_repeats_the_headers_is_known(cells, columns, again):
    assert repeats_headers(cells, columns) is again
    if again:
        key, values = suspicious_cells(columns)
        assert cells[key] in values or columns[0] == "A_b"


@pytest.mark.parametrize(
    "cells", [["---", "---"], ["+----+---+"], ["==="], [":-:", "--"], ["", "————", ""], ["───┼──"]]
)
def test_row_of_dashes_is_a_rule(cells):
    assert is_rule(cells)


@pytest.mark.parametrize("cells", [["-", "-"], ["--", "x"], [""], [], ["-1"], ["a--b"]])
def test_row_with_dashes_among_text_is_no_rule(cells):
    assert not is_rule(cells)


@pytest.mark.parametrize(
    ("cells", "below", "sure"),
    [
        (["你好", "我很好"], [["再见", "好的"], ["几点了", "三点"]], UNSURE),
        (["name", "age"], [["Ann", "7"], ["Bo", "8.5"]], SURE),
        (["1", "2"], [["3", "4"]], DATA),
        (["好", "A"], [["坏", "B"], ["也好", "A"]], DATA),
        (["2023", "2024"], [["x", "y"]], UNSURE),
        (["id", "2024"], [["1", "5"]], UNSURE),
        (["词", "类"], [[f"{at}是", "AB"[at % 2]] for at in range(9)], SURE),
        (["How satisfied are you with us?", "why"], [["5", "x"], ["4", "y"]], SURE),
        (["It is a long sentence about a cat.", "x"], [["Here is another one, on a dog.", "y"]], DATA),
        (["vraag", "antwoord"], [["Hoe laat is het nu bij ons?", "Het is nu bijna tien over drie."]], SURE),
        (["user_text", "reply"], [["hi", "ho"]], SURE),
        (["a", "b"], [], UNSURE),
    ],
)
def test_certainty_of_headers_follows_from_the_rows_below(cells, below, sure):
    assert header_certainty(cells, below) == sure


@pytest.mark.parametrize(
    ("rows", "at", "other"),
    [
        ([["Word", "Grade"], ["apple", "B"], ["text", "A"], ["x", "A"]], 2, 0),
        ([["Word", "Grade"], ["text", "A"], ["x", "B"]], 1, 0),
        ([["Word", "Grade"], ["apple", "B"], [], ["text", "A"], ["x", "A"]], 3, 0),
        ([["提问者说", "客服说"], ["question", "answer"], ["x", "y"]], 1, None),
        ([["FAQ", ""], ["by", "us"], [], ["question", "answer"], ["x", "y"]], 3, None),
        ([["FAQ"], ["question", "answer"], ["x", "y"]], 1, None),
        ([["question", "answer"], ["x", "y"]], 0, None),
    ],
)
def test_headers_below_rows_of_the_same_width_may_be_data(rows, at, other):
    assert rival_header_row(rows, at) == other


@pytest.mark.parametrize(
    ("rows", "other"),
    [
        ([["q1", "a1"], [], ["部门", "人数"], ["销售", "5"]], 2),
        ([["q1", "a1"], [], ["Table 2", ""], ["dept", "staff"], ["sales", "5"]], 3),
        ([["apple", "苹果"], [], ["pear", "梨"], ["fig", "无花果"]], None),
        ([["q1", "1"], [], ["pear", "2"], ["fig", "3"]], None),
        ([["q1", "a1"], ["部门", "人数"], ["销售", "5"]], None),
        ([["q1", "a1"], [], ["How many?", "five of them"], ["x", "5"]], None),
    ],
)
def test_table_below_is_found_by_its_other_kinds_of_values(rows, other):
    assert next_table_row(rows, 0) == other


def test_rows_are_numbered_as_in_the_sheet():
    rows = [["问题", "答案"], ["Question", "Answer"], ["x", "y"]]
    found = FirstRows("faq.xlsx Q", "row", rows, before=4).examine_headers(0, ["问题", "答案"], requested=False)
    assert (found.start, found.asks, found.unsure) == (2, None, None)
    assert found.notes == ("row 6 is skipped: it repeats the headers and is not a sample",)
