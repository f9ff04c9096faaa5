"""Curves as text."""

import math

import pytest

from ftbridge.launchers.runs import text_chart

CURVES = {"training of one": [(1, 4.0), (2, math.nan), (3, 2.0)], "validation of one": [(2, 3.0)]}


def test_a_chart_has_the_points_the_ranges_and_a_legend():
    assert text_chart.text_chart(CURVES, width=9, height=3).splitlines() == [
        "        4 |*",
        "          |    o",
        "        2 |        *",
        "          +---------",
        "           1       3  step",
        "          * training of one",
        "          o validation of one",
    ]


@pytest.mark.parametrize(
    "points", [[(1, 2.0)], [(1, 2.0), (1, 2.0)], [(1, 1e308), (2, -1e308)], [(-1e308, 1), (1e308, 1)]]
)
def test_chart_of_extreme_or_single_values_is_drawn(points):
    assert "*" in text_chart.text_chart({"one": points}).splitlines()[0]


@pytest.mark.parametrize("curves", [{}, {"one": []}, {"one": [(1, math.nan)]}])
def test_chart_without_numbers_says_there_is_nothing_to_draw(curves):
    assert text_chart.text_chart(curves) == "there is nothing to draw yet"
