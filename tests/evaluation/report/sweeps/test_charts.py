"""Geometry of a sweep's charts: what is right lies where it belongs, and what failed makes nothing look better."""

import math
from itertools import pairwise

import pytest

from ftbridge.evaluation.report.charts import LEVELS
from ftbridge.evaluation.report.sweeps.charts import Measure, Series, learning_curve, option_map


def curve(*measures, name="a"):
    return learning_curve([Series(name, "setting", tuple(Measure(*each) for each in measures))], "{:g}".format)


@pytest.mark.parametrize(("largest", "logarithmic"), [(800, False), (801, True)])
def test_sizes_that_lie_far_apart_have_a_logarithmic_axis(largest, logarithmic):
    found = curve((100, 0.5), (200, 0.6), (largest, 0.7))
    assert found.logarithmic == logarithmic
    middle = math.log(2) / math.log(largest / 100) if logarithmic else 100 / (largest - 100)
    assert [dot.x for dot in found.lines[0].dots] == pytest.approx([0, 100 * middle, 100])


def test_a_curve_goes_up_and_has_its_intervals_within():
    found = curve((2000, 0.9, 0.85, 0.94), (100, 0.5, 0.4, 0.6))
    low, high = found.lines[0].dots
    assert (low.measure.size, high.measure.size) == (100, 2000)
    assert 0 <= high.high < high.y < high.low < low.high < low.y < low.low <= 100
    assert found.lines[0].points.split()[0].startswith("0.0,")
    assert [tick.text for tick in found.x_ticks] == ["100", "2,000"]
    assert {"0.4", "1"} <= {tick.text for tick in found.y_ticks}


def test_what_has_no_interval_is_a_point_without_one():
    dots = curve((1, 0.5), (2, 0.7, math.nan, math.nan), (3, math.nan)).lines[0].dots
    assert [(dot.low, dot.high) for dot in dots] == [(None, None)] * 2


def test_numbers_below_the_axis_do_not_stand_on_one_another():
    ticks = curve(*((size, 0.5) for size in range(100, 1100, 10))).x_ticks
    assert len(ticks) <= 12
    assert ticks[-1].text == "1,090"
    assert all(second.at - first.at >= 9 for first, second in pairwise(ticks))


def test_one_size_is_no_curve():
    assert curve((100, 0.5)) is None
    assert learning_curve([], str) is None


def test_lines_of_a_kind_are_counted_for_their_style():
    kinds = ["setting", "setting", "baseline", "before"]
    series = [Series(kind, kind, (Measure(1, 0.1), Measure(2, 0.2))) for kind in kinds]
    assert [line.style for line in learning_curve(series, str).lines] == [0, 1, 0, 0]


def test_the_best_cell_has_the_strongest_colour():
    cells = {(row, column): {"": value} for (row, column), value in {("8", "a"): 0.5, ("8", "b"): 0.7}.items()}
    found = option_map("lora_rank", "backend", cells)
    assert [cell.level for cell in found.rows[0][1]] == [1, LEVELS]
    assert (found.worst, found.best, found.columns) == (0.5, 0.7, ("a", "b"))
    turned = option_map("lora_rank", "backend", cells, less_is_better=True)
    assert [cell.level for cell in turned.rows[0][1]] == [LEVELS, 1]
    assert (turned.worst, turned.best) == (0.7, 0.5)


def test_a_cell_is_no_better_for_having_failed_where_it_is_hard():
    found = option_map("r", "b", {("8", "a"): {"100": None, "500": 0.8}, ("8", "b"): {"100": 0.4, "500": 0.82}})
    assert [(cell.value, cell.failed) for cell in found.rows[0][1]] == [(0.8, 1), (0.82, 0)]


def test_where_no_setting_is_in_all_cells_each_has_the_mean_of_its_own():
    found = option_map("r", "b", {("8", "a"): {"1": 0.4, "2": 0.6}, ("8", "b"): {"3": 0.9}, ("8", "c"): {}})
    assert [cell.value for cell in found.rows[0][1]] == pytest.approx([0.5, 0.9, None])


def test_where_all_failed_there_is_no_map():
    assert option_map("r", "b", {("8", "a"): {"": None}, ("8", "b"): {}}) is None
