"""What is wrong, as a table and as a file."""

import io
import json

import pytest
from rich.cells import cell_len

from ftbridge.adapters.convert.rejects import Rejects, parse_max_rejected
from ftbridge.adapters.problems import Problem, Tally
from ftbridge.adapters.values import BadCell
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Row, Where


def test_a_table_is_aligned_whatever_the_script():
    first, second = Where("f", 1, "Q"), Where("f", 2, "表")
    tally = Tally()
    tally.add([Problem(first, "a", "A", "output", "is empty", "x"), Problem(second, "", "A", "", "没有", "y")])
    lines = tally.table().splitlines()
    assert [len(lines), lines[0].split("  ")[0]] == [3, "address"]
    assert len({cell_len(line[: -len(line.split()[-1])]) for line in lines}) == 1
    assert " row " in lines[2]


def test_the_first_twenty_are_shown_and_the_rest_counted():
    rejects = Rejects(io.BytesIO)
    for number in range(32):
        where = Where("f", number)
        rejects.add(Row(where, {}), [Problem(where, "", "", "", "is bad")], keep=False)
    assert rejects.rows == 32
    assert len(rejects.problems.table().splitlines()) == 22
    assert rejects.problems.table().endswith("... and 12 more")


def test_rejected_rows_are_kept_whatever_they_hold():
    file, openings = io.BytesIO(), []
    rejects = Rejects(lambda: openings.append(1) or file)
    assert not openings
    values = {"q": "\ud800\0", "a": BadCell("#N/A"), "问": [None]}
    for number in (1, 2):
        where = Where("f.xlsx", number, "Q")
        problems = [Problem(where, "a", "B", "output", "is empty"), Problem(where, "q", "A", "instruction", "is bad")]
        rejects.add(Row(where, values), problems, keep=True)
    assert len(openings) == 1
    assert b'"\\ud800\\u0000"' in file.getvalue()
    assert '"问": [null]'.encode() in file.getvalue()
    first, _ = (json.loads(line) for line in file.getvalue().splitlines())
    assert (first["file"], first["sheet"], first["row"]) == ("f.xlsx", "Q", 1)
    assert (first["column"], first["reason"]) == ("a", "output is empty")
    assert first["more"] == [{"column": "q", "value": "", "reason": "instruction is bad"}]
    assert first["values"]["q"] == "\ud800\0"


@pytest.mark.parametrize(("text", "allowed"), [("0", 0), (" 20 ", 20), ("1%", 2), ("0.5%", 1), ("100%", 250)])
def test_so_many_of_250_rows_may_be_rejected(text, allowed):
    assert parse_max_rejected(text)(250) == allowed


def test_a_share_is_exact():
    assert parse_max_rejected("0.57%")(10_000) == 57


@pytest.mark.parametrize("text", ["", "-1", "1.5", "%", "some"])
def test_any_other_number_is_refused(text):
    with pytest.raises(UsageError, match="20"):
        parse_max_rejected(text)
