"""The workbook: the same tables, in which a text is always a text."""

import openpyxl
import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from tests.builders.evaluations import generation, prediction

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", '=HYPERLINK("http://a.example","b")', "\t=1"]


def sheets(path):
    book = openpyxl.load_workbook(path)
    return {sheet.title: [[cell.value for cell in row] for row in sheet.iter_rows()] for sheet in book}


def test_the_tables_of_the_page_are_sheets(news):
    made = ftbridge.report("news-lora", language="en", xlsx=True)
    assert made.xlsx == news.runs / "news-lora" / "report.xlsx"
    found = sheets(made.xlsx)
    assert [*found][:4] == ["Result", "All figures", "Class by class", "The commonest mistakes"]
    assert found["All figures"][0][:4] == ["Model", "Accuracy", "Accuracy, from", "Accuracy, to"]
    assert found["All figures"][1][0] == "After training"
    assert 0 < found["All figures"][1][2] < found["All figures"][1][1] < found["All figures"][1][3] < 1
    assert len(found["Answers, one by one"]) == 61
    assert any("Better, and not by chance" in row for row in found["Result"])


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
        with pytest.raises(UsageError, match=f"`{name}` is there already and no report of ftbridge's"):
            ftbridge.report("news-lora", xlsx=name)


def test_sheets_of_the_same_title_are_told_apart(news):
    generation(news.folder / "qa", [prediction(1, "q", "a", "a")])
    made = ftbridge.report("news-lora", news.folder / "qa", language="en", xlsx=True)
    assert made.xlsx == news.runs / "news-lora" / "report.xlsx"
    assert {"All figures", "All figures 2"} <= set(sheets(made.xlsx))
