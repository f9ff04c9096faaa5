"""Which files are a dataset's own."""

import pytest

from ftbridge.dataset_info.names import all_files_named, final_name, may_be_ours


@pytest.mark.parametrize(
    ("name", "own", "at_last"),
    [
        ("faq-train.alpaca.jsonl", True, ""),
        (".faq-train.alpaca.jsonl.1a2b3c4d.staged.jsonl", True, "faq-train.alpaca.jsonl"),
        (".bashrc", False, ""),
        ("dataset_info.json", False, ""),
        ("../faq.jsonl", False, ""),
        (".dataset_info.json.1a2b3c4d.staged.jsonl", False, ""),
        ("../.faq.jsonl.1a2b3c4d.staged.jsonl", False, ""),
        ("..bashrc.1a2b3c4d.staged.jsonl", False, ""),
    ],
)
def test_hidden_file_is_ours_only_with_a_staged_name(name, own, at_last):
    assert (may_be_ours(name), final_name(name)) == (own, at_last)


def test_staged_file_counts_under_its_staged_and_final_name():
    staged = ".faq.jsonl.1a2b3c4d.staged.jsonl"
    own = {"files": {"alpaca": staged}, "options": {"rejected": {"faq.rejected.jsonl": ""}}}
    found = all_files_named(
        {"faq": {"file_name": staged, "ftbridge": own}, "odd": 1, "theirs": {"file_name": "a.json"}}
    )
    assert found == {staged, "faq.jsonl", "faq.rejected.jsonl", "a.json"}
