"""What `ftbridge datasets` does, in Python."""

import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.dataset_info.registry import FILE

THEIRS = {"theirs": {"file_name": "nowhere.json"}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Stand in a project with a dataset of ours in `sets`, which is the last conversion's, and one of somebody's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / FILE).write_text(json.dumps(THEIRS))
    (tmp_path / "faq.jsonl").write_text("".join(f'{{"question": "q{at}", "answer": "a{at}"}}\n' for at in range(4)))
    ftbridge.convert("faq.jsonl", split="3:1", dataset_dir="sets")
    return tmp_path


def test_list_has_a_line_for_each_of_the_folder_that_is_meant(project):
    assert [(each.name, each.samples) for each in ftbridge.datasets.list()] == [
        ("theirs", None), ("faq-train", 3), ("faq-test", 1),
    ]  # fmt: skip
    assert ftbridge.datasets.list(dataset_dir="elsewhere") == []
    assert ftbridge.datasets.folder() == project / "sets"
    (project / "ftbridge.yaml").write_text("dataset_dir: mine\n")
    assert ftbridge.datasets.folder() == project / "mine"
    assert ftbridge.datasets.folder(Path("other")) == project / "other"


def test_show_gives_entry_and_samples():
    found = ftbridge.datasets.show("faq", samples=2)
    assert (found.name, found.entry["ftbridge"]["samples"]) == ("faq-train", 3)
    assert [str(sample.turns[0].output)[0] for sample in found.samples] == ["a", "a"]
    assert ftbridge.datasets.show("theirs", samples=0).entry == THEIRS["theirs"]
    with pytest.raises(ftbridge.InputError, match="its file is missing"):
        ftbridge.datasets.show("theirs")
    with pytest.raises(ftbridge.InputError, match="there is no dataset `fag`"):
        ftbridge.datasets.show("fag")


def test_check_judges_the_named_datasets_or_all():
    assert [each.backends["llamafactory"].loads for each in ftbridge.datasets.check()] == ["no", "yes", "yes"]
    assert [each.name for each in ftbridge.datasets.check("faq")] == ["faq-train", "faq-test"]


def test_remove_asks_before_an_edited_file_goes(project):
    file = project / "sets" / "faq-test.xtuner.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(ftbridge.QuestionError, match="faq-test"):
        ftbridge.datasets.remove("faq")
    assert file.is_file()
    assert ftbridge.datasets.remove("faq-train").entries == ("faq-train",)
    assert file in ftbridge.datasets.remove("faq", edits=True).files
    assert json.loads((project / "sets" / FILE).read_text()) == THEIRS
