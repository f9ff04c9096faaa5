"""What a source holds."""

from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ftbridge
from ftbridge.adapters.inspect import inspect
from ftbridge.core.errors import InputError


def columns_of(profile):
    return {column.name: msgspec.structs.asdict(column) for column in profile.columns}


def test_columns_are_counted_by_type(workbook):
    rows = [
        ["question", "answer", "id"],
        ["why?", "because", 1],
        ["how?", None, 2.5],
        [None, None, None],
        ["", "x", "n"],
    ]
    (profile,) = inspect(workbook(Q=rows))
    assert (profile.file, profile.sheet, profile.rows, profile.broken) == ("faq.xlsx", "Q", 3, 0)
    found = columns_of(profile)
    assert found["answer"] == {
        "name": "answer",
        "letter": "B",
        "types": {"text": 2},
        "empty": 1,
        "shortest": 1,
        "longest": 7,
        "mean": 4.0,
        "example": "because",
    }
    assert found["id"]["types"] == {"number": 2, "text": 1}
    assert profile.choice.columns == {"instruction": "question", "output": "answer"}
    assert not profile.unclear


def test_every_sheet_that_is_not_hidden_is_shown(workbook):
    path = workbook(One=[["question", "answer"], ["q", "a"]], Two=[["x"], ["y"]])
    assert [profile.sheet for profile in inspect(path)] == ["One", "Two"]
    (two,) = inspect(path, sheet="Two")
    assert two.choice is None
    assert "--map" in two.unclear


def test_rows_that_cannot_be_read_are_counted(folder):
    (folder / "faq.jsonl").write_text('{"q": "a", "a": [1, 2]}\n{broken\n\n{"q": "", "a": {"b": 1}}\n')
    (profile,) = ftbridge.inspect("faq.jsonl")
    assert (profile.rows, profile.broken) == (3, 1)
    assert columns_of(profile)["a"]["types"] == {"list": 1, "object": 1}
    assert columns_of(profile)["q"]["empty"] == 1


def test_cells_of_a_row_that_cannot_be_read_are_not_counted(folder):
    (folder / "faq.csv").write_text("q,a\nwhy?,because\nhow?,so,more\nwhat?\n")
    (profile,) = inspect("faq.csv")
    assert (profile.rows, profile.broken, list(columns_of(profile))) == (3, 2, ["q", "a"])
    assert [(column.types, column.empty) for column in profile.columns] == [({"text": 1}, 0)] * 2


def test_values_are_as_long_as_in_a_sample(workbook):
    (profile,) = inspect(workbook(Q=[["q", "a"], ["n", 69], ["n", "#N/A"], ["n", True]]))
    (column,) = (column for column in profile.columns if column.name == "a")
    assert (column.example, column.shortest, column.longest) == ("69", 2, 4)


def test_parquet_decimals_are_counted_as_numbers(folder):
    rows = {"q": ["a"], "a": pa.array([Decimal("1.50")])}
    pq.write_table(pa.table(rows), "faq.parquet")
    (profile,) = inspect("faq.parquet")
    assert columns_of(profile)["a"]["types"] == {"number": 1}


def test_preset_that_fits_a_source_is_named(workbook):
    rows = [["Question", "Focus (Drug)", "Question Type", "Answer", "Section Title", "URL"], ["q", *"ftast"]]
    (profile,) = inspect(workbook(DrugQA=rows))
    assert profile.preset == "medqa"


def test_progress_is_told_on_the_way(folder):
    (folder / "a.csv").write_text("q,a\n" + "why?,so\n" * 2500)
    told = []
    inspect(folder / "a.csv", callback=told.append)
    assert told == [1000, 2000]


def test_missing_source_is_refused(folder):
    with pytest.raises(InputError, match="gone"):
        inspect("gone.csv")
