"""What reading the records of an entry shows."""

import json

import pytest

from ftbridge.adapters.registered.validate import first_samples, validate
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.entries import interpret_entry

ENTRY = interpret_entry("a", {"file_name": "a.json"})
MAPPED = interpret_entry("a", {"file_name": "a.json", "columns": {"prompt": "q", "response": "a", "system": "s"}})


def write(folder, *records, array=False):
    text = json.dumps(records) if array else "\n".join(json.dumps(record) for record in records)
    (folder / "a.json").write_text(text)


def good(**values):
    return {"instruction": "why?", "input": "", "output": "so"} | values


def test_good_records_are_counted_with_the_empty_ones(folder):
    write(folder, good(), good(output=""), good(instruction=""))
    found = validate(folder, ENTRY)
    assert (found.records, found.empty, found.columns, found.unfit.count, found.system) == (3, 2, [], 0, "")


def test_a_system_prompt_that_all_share_is_the_datasets(folder):
    write(folder, {"q": "a", "a": "b", "s": "be kind"}, {"q": "c", "a": "d", "s": "be kind"})
    assert validate(folder, MAPPED).system == "be kind"
    write(folder, {"q": "a", "a": "b", "s": "be kind"}, {"q": "c", "a": "d", "s": None})
    assert validate(folder, MAPPED).system == ""


def test_problems_are_counted_and_the_first_shown(folder):
    write(folder, good(), *[good(output=number) for number in range(30)], array=True)
    tally = validate(folder, ENTRY).unfit
    assert (tally.count, str(tally.first[0].where)) == (30, "a.json element 2")
    assert tally.first[0].reason.startswith("has a number in `output`, where a record")
    assert tally.table().endswith("... and 10 more")


def test_an_answer_that_is_never_text_is_named_with_its_value(folder):
    write(folder, good(output=69))
    (problem,) = validate(folder, ENTRY).unfit.first
    assert (str(problem.where), problem.field, problem.value) == ("a.json line 1", "output", "69")


def test_columns_are_judged_as_a_whole(folder):
    write(folder, {"question": "a", "output": "b"})
    assert [text.partition(",")[0] for text in validate(folder, ENTRY).columns] == [
        "the column `instruction` should be read",
        "the column `input` should be read",
    ]
    write(folder, good(output="2024-01-01"), good(output="2024-01-02"))
    found = validate(folder, ENTRY)
    assert found.columns == ["`output` holds nothing but dates, which are loaded as times, not as text"]
    assert found.dates
    write(folder, good(output="2024-01-01"), array=True)
    found = validate(folder, ENTRY)
    assert (found.columns, found.dates) == ([], True)


def test_columns_that_seem_meant_and_are_not_read_are_named(folder):
    write(folder, good(system="be kind", history=[], note="x"))
    assert validate(folder, ENTRY).unread == ["history", "system"]


def test_a_trusted_file_is_read_until_a_text_is_no_date(folder):
    write(folder, *[good(output="2024-01-01")] * 3, *[good()] * 5)
    assert validate(folder, ENTRY, trusted=True).records == 4


def test_record_with_half_a_surrogate_pair_is_wrong(folder):
    write(folder, good(), good(output="\ud800"), array=True)
    assert "half of a surrogate pair" in validate(folder, ENTRY).unfit.first[0].reason


def test_first_samples_are_given_up_to_a_wrong_record(folder):
    write(folder, good(), good(output="and"), good(output=5))
    assert [sample.turns[0].output for sample in first_samples(folder, ENTRY, 2)] == ["so", "and"]
    with pytest.raises(InputError, match=r"a.json line 3: `output` holds a number"):
        first_samples(folder, ENTRY, 3)
    assert first_samples(folder, interpret_entry("a", {"hf_hub_url": "owner/name"}), 1) == []
