"""All figures of a sweep: means over trainings, and the number of unreadable answers."""

import math
from statistics import fmean

import msgspec
import pytest

from ftbridge.evaluation.record import load_evaluation
from ftbridge.evaluation.report.sweeps.figures import figures_table, mean_of
from ftbridge.evaluation.report.words import Words
from ftbridge.evaluation.sweep.results import results_of
from tests.builders.evaluations import generation, prediction
from tests.builders.sweeps import grid, write_sweep


def test_a_row_for_each_setting_best_first_with_the_means_of_its_seeds(sizes):
    found = results_of(sizes)
    table = figures_table(found, Words("en"))
    assert (table.header[0], table.header[-1]) == ("Setting", "Unreadable")
    assert {"Accuracy", "Macro F1"} <= {*table.header}
    assert table.rows[0][0] == "sample=2000, backend=xtuner"
    scores = [each.scores for each in found.rows[0].evaluations]
    for name in ("accuracy", "macro_f1"):
        cell = table.rows[0][table.header.index(Words("en").name(name))]
        assert cell.figure.value == pytest.approx(fmean(each.figures[name].value for each in scores))
        assert math.isnan(cell.figure.low)
    assert table.rows[0][-1].figure.value == fmean(each.parsed["unparseable"] for each in scores)
    assert table.rows[-1][1:] == (None,) * (len(table.header) - 1)  # it failed


def test_of_free_text_no_answer_is_unreadable(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(lora_rank=[8, 16]), seeds=(1,), items=10)
    texts = load_evaluation(generation(tmp_path / "text", [prediction(1, "q", "a", "a")]))
    for point in sweep.points:
        place = (sweep.path / point.evaluation).parent
        msgspec.structs.replace(load_evaluation(place), scores=texts.scores).save(place)
    found = results_of(sweep)
    assert mean_of(found.rows[0], "unreadable") is None
    assert figures_table(found, Words("zh")).header[1:] == (
        "完全匹配率", "chrF", "ROUGE-L", "回答长度（字符）", "自行结束",
    )  # fmt: skip


def test_where_nothing_was_asked_there_is_no_table(tmp_path):
    sweep = write_sweep(tmp_path, settings=grid(lora_rank=[8, 16]), seeds=(1,), asked=False)
    assert figures_table(results_of(sweep), Words("en")) is None
