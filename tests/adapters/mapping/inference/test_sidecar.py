"""LLaMA-Factory's dataset_info.json beside a source."""

import json
from pathlib import Path

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.inspect import inspect
from ftbridge.core.errors import InputError

TALK = {"who": "p", "says": "hi"}, {"who": "d", "says": "hello"}
TAGS = {"role_tag": "who", "content_tag": "says", "user_tag": "p", "assistant_tag": "d", "system_tag": "s"}
TALKS = {"formatting": "sharegpt", "columns": {"messages": "talk", "system": "rule", "tools": "calls"}, "tags": TAGS}
FAQ = {"columns": {"prompt": "x", "query": "more", "response": "y", "system": "rule", "history": "before"}}


@pytest.fixture
def told(folder, lines):
    """Return a function that writes rows, and entries for them, into a folder `in`, and converts the rows."""
    (folder / "in").mkdir()

    def tell(*rows, source="in/a.jsonl", entries, **options):
        lines(*rows, name="in/a.jsonl")
        (folder / "in" / "dataset_info.json").write_text(json.dumps(entries), "utf-8")
        return convert(source, to=["xtuner", "messages"], name="a", replace=True, **options)

    return tell


def entries(*said):
    return {f"e{at}": {"file_name": "a.jsonl"} | each for at, each in enumerate(said)}


def samples():
    return [json.loads(line)["conversation"] for line in Path("data/a-train.xtuner.jsonl").read_text().splitlines()]


def test_columns_and_tags_of_a_dataset_info_beside_the_file_are_taken(told):
    done = told({"talk": TALK, "rule": "s", "calls": ""}, entries=entries(TALKS))
    assert samples() == [[{"system": "s", "input": "hi", "output": "hello"}]]
    assert done.tables[0].notes == ("columns and tags are those of `e0` in the dataset_info.json beside it",)
    assert done.tables[0].why[-1].endswith("as `e0` in dataset_info.json says")
    row = {"x": "why?", "more": "now", "y": "so", "rule": "", "before": [["hi", "hello"]], "answer": "other"}
    told(row, entries=entries(FAQ))
    assert [turn["output"] for turn in samples()[0]] == ["hello", "so"]
    assert samples()[0][1]["input"] == "why?\nnow"
    assert inspect("in/a.jsonl")[0].choice.columns["output"] == "y"


def test_roles_given_by_option_add_to_those_of_the_entry(told):
    talk = ({"who": "s", "says": "be kind"}, *TALK, {"who": "p", "says": "why?"}, {"who": "e", "says": "so"})
    told({"id": 1, "talk": talk}, entries=entries(TALKS), role={"e": "assistant"})
    assert [turn["system"] for turn in samples()[0]] == ["be kind", ""]


def test_tools_named_by_a_dataset_info_entry_are_read(told):
    told({"talk": TALK, "calls": '[{"name": "look"}]'}, entries=entries(TALKS))
    (line,) = next(Path("data").glob("*.messages.jsonl")).read_text("utf-8").splitlines()
    assert json.loads(line)["tools"] == [{"type": "function", "function": {"name": "look"}}]
    tool = ({"who": "p", "says": "hi"}, {"who": "t", "says": "{}"})
    with pytest.raises(InputError, match="is a tool's, where the assistant's is expected"):
        told({"id": 1, "talk": tool}, entries=entries(TALKS | {"tags": TAGS | {"observation_tag": "t"}}))


def test_a_folder_with_its_entries_is_read(told, folder):
    told({"talk": TALK, "rule": "s"}, source="in", entries=entries(TALKS))
    assert samples()[0][0]["system"] == "s"
    (folder / "dataset_info.json").write_text(json.dumps({"x": {"file_name": "in"} | FAQ}))
    told({"x": "q", "y": "r"}, source="in", entries={})
    assert samples()[0][0]["output"] == "r"


QA = {"question": "q", "answer": "a", "x": "x", "y": "y"}


@pytest.mark.parametrize(
    ("found", "options"),
    [
        ([FAQ], {"map": {"instruction": "question", "output": "answer"}}),
        ([FAQ | {"columns": {"prompt": "x", "response": "gone"}}], {}),
        ([FAQ | {"file_name": "b.jsonl"}], {}),
        ([FAQ, FAQ | {"columns": {"prompt": "y", "response": "x"}}], {}),
        ([{}], {}),
        ([FAQ | {"ftbridge": {"files": {}}}], {}),
    ],
    ids=["map", "column", "file", "two", "bare", "ours"],
)
def test_dataset_info_entry_that_does_not_fit_is_passed_over(told, found, options):
    told(QA, entries=entries(*found), **options)
    assert samples()[0][0]["output"] == "a"


def test_damaged_dataset_info_is_passed_over_and_a_changed_one_counts(told, folder):
    row = {"x": "q", "y": "a", "question": "why?", "answer": "so"}
    told(row, entries=entries(FAQ))
    assert not told(row, entries=entries(FAQ)).changed
    told(row, entries=entries(FAQ | {"columns": {"prompt": "question", "response": "y"}}))
    assert samples()[0][0]["input"] == "why?"
    (folder / "in" / "dataset_info.json").write_text("{")
    assert convert("in/a.jsonl", name="a", replace=True).tables[0].columns["output"] == "answer"


@pytest.mark.parametrize(
    "entry",
    [
        {"ranking": True} | FAQ,
        FAQ | {"columns": {"prompt": "question", "response": "answer", "kto_tag": "x"}},
        FAQ | {"columns": {"prompt": "question", "chosen": "answer", "rejected": "x"}},
    ],
    ids=["ranking", "kto_tag", "chosen"],
)
def test_preference_dataset_named_by_an_entry_is_refused(told, entry):
    with pytest.raises(InputError, match=r"`e0` in the dataset_info.json beside .* preferences"):
        told(QA, entries=entries(entry))
    told(QA, entries=entries(entry), map={"instruction": "question", "output": "answer"})
    assert samples()[0][0]["output"] == "a"
