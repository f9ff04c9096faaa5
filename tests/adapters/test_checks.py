"""What is wrong, as a table and as a file."""

import io
import json

from rich.cells import cell_len

from ftbridge.adapters.checks import Rejects, table
from ftbridge.adapters.mapping import Problem
from ftbridge.core.records import Row, Where


def test_a_table_is_aligned_whatever_the_script():
    lines = table([Problem("Q!A1", "output", "is empty", "x"), Problem("表!A2", "", "没有", "y")]).splitlines()
    assert [len(lines), lines[0].split("  ")[0]] == [3, "address"]
    assert len({cell_len(line[: -len(line.split()[-1])]) for line in lines}) == 1
    assert " row " in lines[2]


def test_the_first_twenty_are_shown_and_the_rest_counted():
    rejects = Rejects(io.BytesIO)
    for number in range(32):
        rejects.add(Row(Where("f", number), {}), [Problem(f"line {number}", "", "is bad")], keep=False)
    assert rejects.rows == 32
    assert len(rejects.table().splitlines()) == 22
    assert rejects.table().endswith("... and 12 more")


def test_rejected_rows_are_kept_whatever_they_hold():
    file, openings = io.BytesIO(), []
    rejects = Rejects(lambda: openings.append(1) or file)
    assert not openings
    values = {"q": "\ud800\0", "a": {1, 2}, "问": [None]}
    for number in (1, 2):
        rejects.add(Row(Where("f.xlsx", number, "Q"), values), [Problem("Q!A1", "output", "is empty")], keep=True)
    assert len(openings) == 1
    first, _ = (json.loads(line) for line in file.getvalue().splitlines())
    assert first["where"] == "f.xlsx Q!1"
    assert first["problems"] == ["output is empty"]
    assert first["values"]["q"] == "\ud800\0"
