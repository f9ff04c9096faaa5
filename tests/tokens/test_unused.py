"""Which ready tokens may go, and what stays whatever it is called."""

import json
import threading

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.core.files.atomic import locked
from ftbridge.tokens.unused import remove_tokens, unused_tokens

ONE, TWO, THREE = ("1" * 24, "2" * 24, "a" * 24)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of ready tokens: three, one that is unfinished, and links to two of them."""
    for name in (ONE, TWO, THREE, f"{THREE[::-1]}.part", f"{'b' * 24}.part"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "data-00000.arrow").write_bytes(b"tokens")
    links = tmp_path / f"{ONE}-{TWO}"
    links.mkdir()
    for name, key in (("train", ONE), ("validation", TWO)):
        (links / name).symlink_to(f"../{key}")
    (links / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    return tmp_path


def found(folder, used=()):
    return {path.name: why for path, why in unused_tokens(folder, used)}


def test_what_nothing_uses_may_go_and_what_was_not_finished(folder):
    assert found(folder, [ONE, TWO]) == {
        THREE: "ready tokens that no run uses",
        f"{THREE}.part": "unfinished tokens",
        f"{'b' * 24}.part": "unfinished tokens",
    }
    assert ONE in found(folder, [TWO])
    assert list(unused_tokens(folder / "absent", [])) == []


def test_what_is_called_otherwise_or_is_a_link_stays(folder):
    (folder / "notes").mkdir()
    (folder / f"{ONE}.txt").mkdir()
    (folder / ("F" * 24)).mkdir()
    (folder / ("c" * 24)).symlink_to(folder / ONE)
    (folder / ("d" * 24)).write_text("")
    assert set(found(folder)) == {ONE, TWO, THREE, f"{THREE}.part", f"{'b' * 24}.part"}


def test_links_go_with_either_of_their_tokens(folder):
    assert remove_tokens(folder / TWO)
    assert not (folder / TWO).exists()
    assert not (folder / f"{ONE}-{TWO}").exists()
    assert (folder / ONE / "data-00000.arrow").read_bytes() == b"tokens"


def test_links_whose_tokens_are_gone_may_go(folder):
    (folder / ONE).rename(folder / ("e" * 24))
    assert found(folder, [TWO, "e" * 24])[f"{ONE}-{TWO}"] == "links to tokens that are gone"
    assert remove_tokens(folder / f"{ONE}-{TWO}")
    assert (folder / TWO).is_dir()


def test_what_is_being_made_is_neither_found_nor_removed(folder):
    part, going, done = folder / f"{'b' * 24}.part", threading.Event(), threading.Event()

    def make():
        with locked(folder / ("b" * 24)):
            going.set()
            done.wait(60)

    maker = threading.Thread(target=make)
    maker.start()
    going.wait(60)
    try:
        assert part.name not in found(folder)
        assert not remove_tokens(part)
        assert part.is_dir()
    finally:
        done.set()
        maker.join()
    assert part.name in found(folder)
    assert remove_tokens(part)
    assert not part.exists()


def test_a_lock_that_cannot_be_made_is_told(folder):
    (folder / f".{ONE}.lock").mkdir()
    with pytest.raises(SetupError, match="cannot write"):
        remove_tokens(folder / ONE)
    assert (folder / ONE).is_dir()
