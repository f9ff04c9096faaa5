"""Curves as text."""

import math

import pytest
from rich.cells import cell_len

from ftbridge.launchers.runs.charts.text import text_chart

CURVES = {"training of one": [(1, 4.0), (2, math.nan), (3, 2.0)], "validation of one": [(2, 3.0)]}
EXTREMES = [[(1, 2.0)], [(1, 2.0), (1, 2.0)], [(1, 1e308), (2, -1e308)], [(-1e308, 1), (1e308, 1)]]


def test_a_chart_has_the_points_values_a_title_and_a_legend():
    assert text_chart(CURVES, columns=31, height=3, title="medqa, base").plain.splitlines() == [
        "           medqa, base",
        "        4 |*",
        "        3 |          o",
        "        2 |                   *",
        "          +--------------------",
        "           1      steps       3",
        "          * training of one",
        "          o validation of one",
    ]


def test_points_are_joined_but_for_one_that_is_no_number():
    assert text_chart({"one": [(1, 4.0), (5, 2.0)]}, columns=20, height=3).plain.splitlines()[:3] == [
        "        4 |***",
        "        3 |   ***",
        "        2 |      ***",
    ]
    dotted = text_chart(CURVES | {"joined": [(1, 2.0), (3, 4.0)]}, columns=20, height=3, dots=True)
    assert dotted.plain.splitlines()[:4] == [
        "        4 │⠁     ⣀⠔⠊",
        "        3 │   ⡠⠔⠊",
        "        2 │⡠⠔⠉     ⢀",
        "          └─────────",
    ]
    assert {str(span.style) for span in dotted.spans} == {"cyan", "yellow", "magenta"}


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
@pytest.mark.parametrize("dots", [False, True])
def test_no_line_of_a_chart_is_wider_than_the_terminal(columns, dots):
    name = "training of 2026-药"
    chart = text_chart({name: [(1, 4.0), (100_000, 2.0)]}, columns=columns, title="客服-" * 60, dots=dots)
    lines = chart.plain.splitlines()
    assert max(map(cell_len, lines)) == columns
    assert lines[-1].endswith(f" {name}")


@pytest.mark.parametrize("points", EXTREMES)
def test_chart_of_extreme_or_single_values_is_drawn(points):
    assert "*" in text_chart({"one": points}).plain.splitlines()[0]
    assert text_chart({"one": points}, dots=True).spans


@pytest.mark.parametrize("curves", [{}, {"one": []}, {"one": [(1, math.nan)]}])
def test_chart_without_numbers_says_there_is_nothing_to_draw(curves):
    assert text_chart(curves).plain == "there is nothing to draw yet"
