"""The sheets of a report on runs: the tables of its page."""

import openpyxl

import ftbridge
from tests.builders.evaluations import generation, prediction


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


def test_sheets_of_the_same_title_are_told_apart(news):
    generation(news.folder / "qa", [prediction(1, "q", "a", "a")])
    made = ftbridge.report("news-lora", news.folder / "qa", language="en", xlsx=True)
    assert made.xlsx == news.runs / "news-lora" / "report.xlsx"
    assert {"All figures", "All figures 2"} <= set(sheets(made.xlsx))
