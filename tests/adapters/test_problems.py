"""What is wrong, as a table."""

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
