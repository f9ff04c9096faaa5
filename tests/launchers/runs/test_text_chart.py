"""Curves as text."""

import math

import pytest
from rich.cells import cell_len

from ftbridge.launchers.runs import text_chart

CURVES = {"training of one": [(1, 4.0), (2, math.nan), (3, 2.0)], "validation of one": [(2, 3.0)]}


def test_a_chart_has_the_points_the_ranges_and_a_legend():
    assert text_chart.text_chart(CURVES, columns=31, height=3).splitlines() == [
        "        4 |*",
        "          |          o",
        "        2 |                   *",
        "          +--------------------",
        "           1       step       3",
        "          * training of one",
        "          o validation of one",
    ]


@pytest.mark.parametrize("columns", [30, 60, 80, 89])
def test_no_line_of_a_chart_is_wider_than_the_terminal(columns):
    name = "training of 2026-药"
    lines = text_chart.text_chart({name: [(1, 4.0), (100_000, 2.0)]}, columns=columns).splitlines()
    assert max(map(cell_len, lines)) == columns
    assert lines[-1].endswith(f"* {name}")


@pytest.mark.parametrize(
    "points", [[(1, 2.0)], [(1, 2.0), (1, 2.0)], [(1, 1e308), (2, -1e308)], [(-1e308, 1), (1e308, 1)]]
)
def test_chart_of_extreme_or_single_values_is_drawn(points):
    assert "*" in text_chart.text_chart({"one": points}).splitlines()[0]


@pytest.mark.parametrize("curves", [{}, {"one": []}, {"one": [(1, math.nan)]}])
def test_chart_without_numbers_says_there_is_nothing_to_draw(curves):
    assert text_chart.text_chart(curves) == "there is nothing to draw yet"
