"""What is wrong, as a table."""

import pytest
from rich.cells import cell_len

from ftbridge.adapters.problems import Problem, Tally
from ftbridge.core.records import Where


def test_table_of_problems_is_aligned_with_wide_characters():
    first, second = Where("f", 1, "Q"), Where("f", 2, "表")
    tally = Tally()
    tally.add([Problem(first, "a", "A", "output", "is empty", "x"), Problem(second, "", "A", "", "没有", "y")])
    lines = tally.table().splitlines()
    assert [len(lines), lines[0].split("  ")[0]] == [3, "address"]
    assert len({cell_len(line[: -len(line.split()[-1])]) for line in lines}) == 1
    assert " row " in lines[2]


@pytest.mark.parametrize("columns", [50, 60, 80])
def test_a_terminal_gets_reasons_wrapped_and_as_much_of_the_values_as_fits(columns, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    reason = "message 2 is the user's, where the assistant's is expected"
    tally = Tally()
    tally.add([Problem(Where("f", 2), "a", "", "messages", reason, "阿司匹林是什么药" * 5)])
    tally.add([Problem(Where("f", 3), "a", "", "messages", "is empty", "[]")])
    head, first, *more = tally.table().splitlines()
    assert max(map(cell_len, [head, first, *more])) <= columns
    assert [head.split(), first[-1]] == [["address", "field", "reason", "value"], "…"]
    words = [line[head.index("reason") : head.index("value")].strip() for line in (first, *more[:-1])]
    assert [" ".join(words), more[-1].split()] == [reason, ["line", "3", "messages", "is", "empty", "[]"]]
