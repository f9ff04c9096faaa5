"""The workbook: the same tables, in which a text is always a text."""

import math

import openpyxl
import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from ftbridge.evaluation.record import Figure
from ftbridge.evaluation.report.charts import Number, Table
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.report.workbook import table_sheet, write_workbook
from tests.builders.evaluations import generation, prediction

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", '=HYPERLINK("http://a.example","b")', "\t=1"]


def sheets(path):
    book = openpyxl.load_workbook(path)
    return {sheet.title: [[cell.value for cell in row] for row in sheet.iter_rows()] for sheet in book}


def test_shares_are_numbers_shown_in_percent(news):
    sheet = openpyxl.load_workbook(ftbridge.report("news-lora", language="en", xlsx=True).xlsx)["All figures"]
    assert (sheet["B2"].data_type, sheet["B2"].number_format) == ("n", "0.0%")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_as_a_formula_stays_a_text(news, text):
    generation(news.folder / "qa", [prediction(1, text, text, text), prediction(2, "q", "a", "b")], dataset=text)
    made = ftbridge.report(news.folder / "qa", language="en", xlsx="out.xlsx")
    book = openpyxl.load_workbook(made.xlsx)
    cells = [
        cell
        for sheet in book
        for row in sheet.iter_rows()
        for cell in row
        if cell.value and text.strip() in str(cell.value)
    ]
    exact = [cell for cell in cells if str(cell.value).strip() == text.strip()]
    assert len(exact) >= 3
    assert {cell.data_type for cell in exact} == {"s"}
    assert all(cell.quotePrefix for cell in exact)


def test_what_a_cell_cannot_hold_is_escaped_or_cut(news):
    odd = ["a\x00\x1b[31mb", "x" * 40_000, "half \u202e turned"]
    generation(news.folder / "qa", [prediction(at, f"q{at}", text, "r") for at, text in enumerate(odd, 1)])
    made = ftbridge.report(news.folder / "qa", language="zh", xlsx="out.xlsx")
    answers = [row[3] for row in sheets(made.xlsx)["逐条回答"][1:]]
    assert answers[0] == "a\\x00\\x1b[31mb"
    assert len(answers[1]) < 32_768
    assert answers[2] == "half \\u202e turned"


def test_a_workbook_of_ours_is_written_anew_and_no_other_one(news):
    ftbridge.report("news-lora", xlsx="out.xlsx")
    ftbridge.report("news-lora", xlsx="out.xlsx")
    openpyxl.Workbook().save("mine.xlsx")
    for name in ("mine.xlsx", "ftbridge.yaml"):
        with pytest.raises(UsageError, match=f"`{name}` exists already and is not a report of ftbridge"):
            ftbridge.report("news-lora", xlsx=name)


def test_a_figure_that_is_missing_leaves_room_for_its_interval(tmp_path):
    half = Figure(value=0.5, low=0.4, high=0.6, items=9, method="wilson")
    plain = Figure(value=0.1, low=math.nan, high=math.nan, items=9, method="bootstrap")
    rows = (("a", Number("f1", half), Number("f1", plain), 1), ("b", None, None, 2))
    write_workbook(tmp_path / "a.xlsx", [table_sheet(Table("t", "t", ("name", "f1", "sd", "n"), rows), Words("en"))])
    assert sheets(tmp_path / "a.xlsx")["t"] == [
        ["name", "f1", "f1, from", "f1, to", "sd", "n"],
        ["a", 0.5, 0.4, 0.6, 0.1, 1],
        ["b", None, None, None, None, 2],
    ]
