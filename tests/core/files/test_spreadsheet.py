"""Rows as an .xlsx file."""

import io

import openpyxl
import pytest

from ftbridge.core.files import spreadsheet
from ftbridge.core.files.spreadsheet import CHARACTERS, is_too_long, write_sheets


def written(rows):
    file = io.BytesIO()
    write_sheets(file, "predictions", ["a", "b"], rows)
    return openpyxl.load_workbook(file)


def test_a_formula_stays_a_text_and_numbers_stay_numbers():
    (page,) = written([["=1+1", 5], ["+1", True]])
    assert [[(cell.value, cell.data_type) for cell in row] for row in page] == [
        [("a", "s"), ("b", "s")],
        [("=1+1", "s"), (5, "n")],
        [("+1", "s"), (True, "b")],
    ]


@pytest.mark.parametrize(
    ("text", "kept"), [("a" * CHARACTERS, CHARACTERS), ("a" * 40_000, CHARACTERS), ("😀" * 20_000, 16_383)]
)
def test_a_text_is_cut_where_excel_would_not_open_it(text, kept):
    (page,) = written([[text, 1]])
    assert page["A2"].value == text[:kept]
    assert is_too_long(text) == (len(text) > kept)


def test_rows_beyond_a_sheet_go_on_in_another_and_no_rows_leave_the_header(monkeypatch):
    monkeypatch.setattr(spreadsheet, "ROWS", 3)
    book = written([[number, ""] for number in range(4)])
    assert book.sheetnames == ["predictions", "predictions 2"]
    assert [[row[0].value for row in page] for page in book] == [["a", 0, 1], ["a", 2, 3]]
    (page,) = written([])
    assert [[cell.value for cell in row] for row in page] == [["a", "b"]]
