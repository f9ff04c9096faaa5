"""The demo: that it really learns is what `make demo` shows, and ends with an error where it does not."""

import ftbridge
from ftbridge.demo import Answers


def test_share_counts_word_for_word():
    answers = Answers(["a", "b"], ["x", "y"], {"before": ["x ", "z"], "xtuner": ["x", "z"]})
    assert answers.share("before") == 0
    assert answers.share("xtuner") == 0.5


def test_the_sample_has_the_tutorials_shape(tmp_path, monkeypatch):
    from openpyxl import load_workbook

    from .conftest import ROOT

    book = load_workbook(ROOT / "dataset_info" / "samples" / "medqa.xlsx")
    assert book.sheetnames == ["DrugQA"]
    header = [cell.value for cell in book["DrugQA"][1]]
    assert header == ["Question", "Focus (Drug)", "Question Type", "Answer", "Section Title", "URL"]
    monkeypatch.chdir(tmp_path)
    converted = ftbridge.convert(ROOT / "dataset_info" / "samples" / "medqa.xlsx", split="7:3")
    assert [part.samples for part in converted.parts] == [21, 9]
    assert converted.tables[0].preset == "medqa"
