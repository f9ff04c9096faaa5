"""The rows of a sweep as files: numbers are numbers, and no text is a formula."""

import csv
import math

import openpyxl
import pytest

from ftbridge.evaluation.report.sweeps.contents import contents_of
from ftbridge.evaluation.report.sweeps.table import sheets, sweep_rows, write_csv, write_xlsx
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.report.workbook import write_workbook
from ftbridge.evaluation.sweep.results import results_of
from tests.builders.sweeps import FULL_DISK, write_sweep

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1"]


def test_a_row_for_each_setting_under_a_header(sizes):
    header, *rows = sweep_rows(results_of(sizes, "macro_f1"))
    assert header == (
        "sample", "backend", "macro_f1", "sd", "low", "high", "seeds", "accuracy", "macro_precision",
        "macro_recall", "kappa", "unreadable", "training_samples", "loss", "seconds", "status", "error",
    )  # fmt: skip
    assert len(rows) == 8
    assert {len(row) for row in rows} == {len(header)}
    best = dict(zip(header, rows[0], strict=True))
    assert (best["sample"], best["seeds"], best["training_samples"], best["error"]) == (2000, 3, 2000, None)
    assert best["low"] < best["macro_f1"] < best["high"]
    row = results_of(sizes, "macro_f1").rows[0]
    assert best["accuracy"] == row.figures["accuracy"].mean
    assert best["unreadable"] == sum(each.scores.parsed["unparseable"] for each in row.evaluations) / 3
    failed = dict(zip(header, rows[-1], strict=True))
    assert (failed["macro_f1"], failed["seeds"], failed["status"], failed["error"]) == (None, 0, "failed", FULL_DISK)


def test_by_the_loss_that_is_one_column(sizes):
    assert sweep_rows(results_of(sizes, "loss"))[0].count("loss") == 1


def test_where_nothing_was_measured_the_settings_are_there(tmp_path):
    sweep = write_sweep(tmp_path, settings=[{"bf16": True}, {"bf16": False}], seeds=(1,), waiting={(0, 1), (1, 1)})
    assert sweep_rows(results_of(sweep)) == [
        ("bf16", "training_samples", "loss", "seconds", "status", "error"),
        ("on", None, None, None, "waiting", None),
        ("off", None, None, None, "waiting", None),
    ]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_as_a_formula_stays_a_text(tmp_path, text):
    rows = [("option", "macro_f1"), (text, 0.5), ("中文", None), ("nan", math.nan)]
    write_csv(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_bytes().startswith("\ufeffoption".encode())
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["option", "macro_f1"], [f"'{text}", "0.5"], ["中文", ""], ["nan", ""]]
    write_xlsx(tmp_path / "a.xlsx", rows)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert (sheet["A2"].value, sheet["A2"].data_type, sheet["A2"].quotePrefix) == (text, "s", True)
    assert (sheet["B2"].value, sheet["B3"].value, sheet["B4"].value) == (0.5, None, None)


def test_the_sheets_of_the_report_have_their_intervals_under_their_headers(sizes, tmp_path):
    words = Words("en")
    write_workbook(tmp_path / "a.xlsx", sheets(contents_of(sizes, results_of(sizes), words), words))
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == [
        "Result", "The settings, best first", "All figures", "Why settings failed", "What was the same in all of the",
        "Each training",
    ]  # fmt: skip
    header, *rows = book["The settings, best first"].iter_rows(values_only=True)
    assert header[2:7] == ("Accuracy", "Accuracy, from", "Accuracy, to", "±", "Seeds")
    assert rows[0][3] < rows[0][2] < rows[0][4]
    assert rows[0][6] == 3
    assert rows[-1][2:7] == (None, None, None, None, 0)
