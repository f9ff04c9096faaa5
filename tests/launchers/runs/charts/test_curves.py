"""Losses that frameworks log at different places, as curves that compare."""

import math

from ftbridge.launchers.runs.charts.curves import by_whole_steps, smoothed


def test_parts_of_a_step_are_one_point_as_the_other_framework_logs_it():
    parts = [(0.25, 4.0), (0.5, 3.0), (0.75, 2.0), (1, 3.0), (1.5, 2.0), (2, 1.0), (2.5, math.nan)]
    (one, two, three) = by_whole_steps(parts)
    assert (one, two, three[0]) == ((1, 3.0), (2, 1.5), 3)
    assert math.isnan(three[1])
    assert by_whole_steps([(1, 3.0), (2, 1.5)]) == [(1, 3.0), (2, 1.5)]


def test_huge_losses_have_a_mean():
    assert by_whole_steps([(0.5, 1e308), (1, 1e308)]) == [(1, 1e308)]


def test_a_smoothed_curve_stays_on_its_steps_and_follows_a_straight_line():
    points = [(step, 100.0 - step + (-1) ** step) for step in range(1, 101)]
    found = smoothed(points)
    assert [step for step, _ in found] == [step for step, _ in points]
    assert all(abs(value - (100 - step)) < 0.1 for step, value in found[5:-5])


def test_a_loss_that_is_no_number_is_left_out_of_the_mean():
    points = [(step, math.nan if step == 10 else 2.0) for step in range(1, 21)]
    assert all(value == 2.0 for _, value in smoothed(points))
    assert math.isnan(smoothed([(1, math.nan)])[0][1])
    assert smoothed([]) == []
