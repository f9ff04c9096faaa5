"""A line for each registered dataset."""

import json
import re

from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info.listing import summaries
from ftbridge.dataset_info.registry import FILE, read_entries, register


def test_listing_has_a_line_for_every_entry(tmp_path):
    assert summaries(tmp_path) == []
    theirs = {
        "alpaca": {"file_name": "a.json"},
        "hub": {"hf_hub_url": "owner/name", "formatting": "sharegpt"},
        "odd": 5,
    }
    (tmp_path / FILE).write_text(json.dumps(theirs))
    files = {"xtuner": "faq.xtuner.jsonl", "sharegpt": "faq.sharegpt.jsonl"}
    facts = {"version": "1", "samples": 3, "columns": {}, "preset": "medqa"}
    register(tmp_path, {"faq": DatasetEntry(files=files, sources={"faq.xlsx": "1"}, **facts)})
    (tmp_path / "faq.sharegpt.jsonl").touch()
    found = {each.name: each for each in summaries(tmp_path)}
    assert list(found) == list(read_entries(tmp_path))
    faq = found["faq"]
    assert (faq.ours, faq.samples, faq.formats) == (True, 3, ("sharegpt", "xtuner"))
    assert (faq.source, faq.preset) == ("faq.xlsx", "medqa")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", faq.made)
    alpaca = found["alpaca"]
    assert (alpaca.ours, alpaca.samples, alpaca.formats) == (False, None, ("alpaca",))
    assert (alpaca.source, alpaca.made) == ("a.json", "")
    assert (found["hub"].source, found["hub"].formats) == ("owner/name", ("sharegpt",))


def test_a_damaged_entry_of_ours_does_not_hide_the_others(tmp_path):
    (tmp_path / FILE).write_text('{"faq": {"ftbridge": {"samples": "many"}}, "alpaca": {"file_name": "a.json"}}')
    assert [each.source for each in summaries(tmp_path)] == ["damaged; `ftbridge datasets check` says how", "a.json"]
