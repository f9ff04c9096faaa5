"""Entries as LLaMA-Factory reads them; tests/adapters/registered/test_check.py asks it itself."""

import pytest

from ftbridge.adapters.targets import alpaca, sharegpt
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.entries import Entry, data_files, interpret_entry

FILE = {"file_name": "a.json"}


def test_entry_without_columns_gets_the_default_ones():
    entry = interpret_entry("a", FILE)
    assert (entry.formatting, entry.problems, entry.notes) == ("alpaca", (), ())
    assert entry.read_columns == ["instruction", "input", "output"]
    assert interpret_entry("a", FILE | {"formatting": "sharegpt"}).read_columns == ["conversations"]
    assert entry.tags["user_tag"] == "human"


def test_columns_left_out_of_a_map_are_not_read():
    entry = interpret_entry("a", FILE | {"columns": {"response": "a", "query": None}, "tags": {"role_tag": "role"}})
    assert (entry.columns, entry.tags, entry.problems) == ({"response": "a"}, {"role_tag": "role"}, ())


@pytest.mark.parametrize("target", [alpaca, sharegpt])
def test_entries_of_our_targets_are_read_without_notes(target):
    entry = interpret_entry("a", FILE | target.entry | {"ftbridge": {}})
    assert (entry.problems, entry.notes) == ((), ())
    assert entry.columns == target.entry["columns"]


@pytest.mark.parametrize(
    ("name", "raw", "problem"),
    [
        ("a,b", FILE, "holds a comma"),
        ("a ", FILE, "ends with a blank"),
        ("a", 5, "is not a JSON object"),
        ("a", {}, "has no `file_name`"),
        ("a", {"file_name": 5}, "has no `file_name`"),
        ("a", FILE | {"columns": None}, "`columns` must be an object"),
        ("a", FILE | {"columns": {"prompt": 5, "response": "a"}}, "`columns` must be an object"),
        ("a", FILE | {"columns": {"prompt": "q"}}, "`columns` lacks `response`"),
        ("a", FILE | {"formatting": "sharegtp"}, "no `formatting` `sharegtp`; did you mean `sharegpt`"),
        (
            "a",
            FILE | {"formatting": "sharegpt", "tags": {"user_tag": "u"}},
            "lacks `role_tag`, `content_tag`, `ass",
        ),
        ("a", FILE | {"formatting": "openai", "columns": {}}, "`columns` lacks `messages`"),
        ("a", FILE | {"ranking": True}, "holds preferences"),
        ("a", FILE | {"columns": {"response": "a", "kto_tag": "good"}}, "holds preferences"),
        ("a", FILE | {"num_samples": "10"}, '`num_samples` is `"10"`'),
        ("a", FILE | {"num_samples": 0}, "`num_samples` is `0`"),
        ("a", FILE | {"split": "test"}, "asks for the split `test`"),
    ],
)
def test_entry_that_cannot_be_trained_on_names_its_problem(name, raw, problem):
    assert any(problem in found for found in interpret_entry(name, raw).problems)


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        ({"format": "sharegpt"}, "ignores the key `format`; did you mean `formatting`?"),
        (
            {"columns": {"response": "a", "promt": "q"}},
            "ignores the key `promt` in `columns`; did you mean `prompt`?",
        ),
        ({"tags": {"user": "u"}}, "ignores the key `user` in `tags`; did you mean `user_tag`?"),
        ({"formatting": "openai"}, 'adds "detailed thinking off"'),
    ],
)
def test_keys_that_llamafactory_ignores_or_adds_to_are_noted(raw, note):
    assert any(note in found for found in interpret_entry("a", FILE | raw).notes)


@pytest.mark.parametrize("key", ["hf_hub_url", "ms_hub_url", "script_url", "cloud_file_name"])
def test_entry_of_remote_data_needs_no_file(key):
    entry = interpret_entry("a", {key: "owner/name", "split": "train_sft"})
    assert (entry.remote, entry.problems) == ("owner/name", ())


def test_entry_that_draws_samples_tells_how_many():
    assert interpret_entry("a", FILE | {"num_samples": 5}).drawn == "`num_samples` 5"
    assert interpret_entry("a", FILE | {"num_samples": 5}).samples == 5
    assert interpret_entry("a", FILE | {"split": "train[:9]"}).drawn == "`split` train[:9]"
    assert interpret_entry("a", FILE).drawn == ""


def test_dataset_folder_with_mixed_or_nested_files_is_refused(tmp_path):
    def files(name):
        return [file.name for file in data_files(tmp_path, Entry(name="a", file_name=name))]

    for name in ("one/b.json", "one/a.jsonl", "two/a.json", "two/b.csv", "odd/a.json", "odd/.hidden", "deep/in/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "none").mkdir()
    (tmp_path / "empty.json").touch()
    (tmp_path / "plain.txt").write_text("{}")
    assert files("one") == ["a.jsonl", "b.json"]
    assert files("one/b.json") == ["b.json"]
    for name, message in (
        ("absent.json", "file is missing"),
        ("none", "folder is empty"),
        ("empty.json", "file is empty"),
        ("plain.txt", "a text file has one column"),
        ("two", "several types: csv, json"),
        ("odd", "and not `.*hidden`"),
        ("deep", "holds another folder"),
    ):
        with pytest.raises(InputError, match=message):
            files(name)
