"""Geometry: everything lies within its chart, and nothing is lost that one would look for."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ftbridge.evaluation.record import Confusion, Figure
from ftbridge.evaluation.report.charts import (
    LEVELS,
    MOST_CLASSES,
    MOST_POINTS,
    heat_map,
    interval_chart,
    loss_chart,
    most_confused,
)

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def confusion(size, wrong=()):
    """Return the table of so many classes with ten right each, and one more mistake for each place in `wrong`."""
    counts = [[10 if at == to else 0 for to in range(size + 1)] for at in range(size)]
    for at, to in wrong:
        counts[at][to] += 1
    return Confusion(labels=tuple(f"c{at}" for at in range(size)), counts=tuple(map(tuple, counts)))


def test_an_interval_lies_on_an_axis_from_0_to_100():
    figure = Figure(value=0.5, low=-0.2, high=1.3, items=3, method="bootstrap")
    bar = interval_chart("f1", [("a", "after", figure)]).bars[0]
    assert (bar.low, bar.at, bar.high) == (0, 50, 100)


def test_a_curve_of_no_numbers_has_no_chart():
    assert loss_chart({}) is None
    assert loss_chart({"loss": [(1.0, math.nan), (2.0, math.inf)]}) is None


def test_a_peak_stays_in_a_long_curve():
    points = [(float(at), 9.0 if at == 77_777 else 1.0) for at in range(100_000)]
    curve = loss_chart({"loss": points}).curves[0]
    places = [tuple(map(float, point.split(","))) for point in curve.points.split()]
    assert len(places) <= MOST_POINTS
    assert min(y for _, y in places) < 200 < max(y for _, y in places)
    assert (curve.last, curve.lowest) == (1.0, 1.0)


def test_one_point_is_a_chart():
    chart = loss_chart({"loss": [(1.0, 2.5)]})
    assert len(chart.curves[0].points.split()) == 1
    assert len(chart.y_ticks) >= 2


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_whatever_was_logged_is_within_the_chart(points):
    chart = loss_chart({"loss": points})
    for curve in chart.curves if chart else ():
        for point in curve.points.split():
            assert all(-1 <= float(place) <= 1001 for place in point.split(","))
    for tick in chart.y_ticks if chart else ():
        assert -1 <= tick.at <= 101


def test_a_heat_map_shades_by_the_share_of_a_row():
    found = heat_map(confusion(3, [(0, 1), (2, 3)]), "others")
    assert found.labels == ("c0", "c1", "c2")
    assert [cell.number for cell in found.rows[0]] == [10, 1, 0, 0]
    assert found.rows[0][0].level == LEVELS
    assert [cell.level for cell in found.rows[0]][1:] == [1, 0, 0]
    assert [cell.right for cell in found.rows[2]] == [False, False, True, False]


def test_of_a_hundred_classes_those_with_mistakes_are_shown_and_no_answer_is_lost():
    table = confusion(100, [(97, 3)] * 4)
    found = heat_map(table, "others")
    assert len(found.labels) == MOST_CLASSES + 1
    assert {"c97", "c3"} < set(found.labels)
    assert found.labels[-1] == "others"
    assert found.others == 100 - MOST_CLASSES
    assert sum(cell.number for row in found.rows for cell in row) == 1004
    assert sum(cell.number for row in found.rows for cell in row if cell.right) == 1000


def test_a_class_that_never_occurs_is_an_empty_row():
    table = Confusion(labels=("a", "b"), counts=((3, 0, 0), (0, 0, 0)))
    assert [cell.level for cell in heat_map(table, "others").rows[1]] == [0, 0, 0]


def test_the_commonest_mistakes_come_first_and_unreadable_answers_are_among_them():
    found = most_confused(confusion(3, [(0, 1), (2, 3), (2, 3)]))
    assert found == [("c2", None, 2), ("c0", "c1", 1)]
