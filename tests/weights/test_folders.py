"""Folders: there whole, or not at all, and never in place of somebody else's."""

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.weights.folders import fresh_folder
from ftbridge.weights.sources import CARD


def content(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def make(target, *names, error=None):
    with fresh_folder(target) as folder:
        for name in names:
            (folder / name).write_text(name)
        if error:
            raise error


def test_a_folder_appears_with_all_it_holds(tmp_path):
    make(tmp_path / "deep" / "new", "a", "b")
    assert content(tmp_path) == {"deep", "deep/new", "deep/new/a", "deep/new/b"}


def test_a_relative_folder_is_made_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make((tmp_path / "new").relative_to(tmp_path), "a")
    assert content(tmp_path) == {"new", "new/a"}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, InputError])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    with pytest.raises(error):
        make(tmp_path / "new", "a", error=error())
    assert content(tmp_path) == set()
    make(tmp_path / "new", CARD, "old")
    with pytest.raises(error):
        make(tmp_path / "new", "a", error=error())
    assert content(tmp_path) == {"new", f"new/{CARD}", "new/old"}


def test_what_we_wrote_and_what_is_empty_is_replaced(tmp_path):
    (tmp_path / "new").mkdir()
    make(tmp_path / "new", CARD, "old")
    make(tmp_path / "new", "a")
    assert content(tmp_path) == {"new", "new/a"}


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    before = content(tmp_path)
    for name in ("file", "folder"):
        with pytest.raises(InputError, match=f"{name}` is there and was not written by ftbridge.*--out"):
            make(tmp_path / name, "a")
    assert content(tmp_path) == before


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    for name in (".new.1.part", ".other.1.part", ".new.mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("")
    with fresh_folder(tmp_path / "new"):
        assert not (tmp_path / ".new.1.part").exists()
        make(tmp_path / "new", CARD)
        assert len(list(tmp_path.glob(".new.*.part"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"new", ".other.1.part", ".new.mine"}


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot write `.*below`: "):
        make(tmp_path / "file" / "below")
