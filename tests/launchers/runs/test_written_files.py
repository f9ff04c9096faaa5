"""What was written into a folder, and what was not."""

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.launchers.runs import written_files
from ftbridge.launchers.runs.written_files import files_in, unknown_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a record, a file whose content is on record, and one whose size is."""
    monkeypatch.setattr(written_files, "SMALL_FILE_BYTES", 10)
    for name, size in (("record", 1), ("small", 10), ("large", 11)):
        (tmp_path / name).write_text("a" * size)
    return tmp_path


def test_written_files_are_known_as_ours_again(folder):
    files = msgspec.to_builtins(files_in(folder))
    assert {name: set(file) for name, file in files.items()} == {
        "large": {"size"},
        "record": {"size", "sha256"},
        "small": {"size", "sha256"},
    }
    del files["record"]
    (folder / "record").write_text("anything")
    assert list(unknown_files(folder, files, "record")) == []
    (folder / "small").unlink()
    assert list(unknown_files(folder, files, "record")) == []


def test_changed_and_added_files_are_told_as_foreign(folder):
    files = msgspec.to_builtins(files_in(folder))
    (folder / "small").write_text("b" * 10)
    (folder / "large").write_text("a" * 12)
    (folder / "more").write_text("")
    (folder / "deep").mkdir()
    (folder / "record").unlink()
    (folder / "record").symlink_to("small")
    assert list(unknown_files(folder, files, "record")) == [
        "`deep/`",
        "`large`, which was changed since",
        "`more`",
        "`record`",
        "`small`, which was changed since",
    ]


@pytest.mark.parametrize("files", [None, [], {"a": 1}, {"a": {}}, {"a": {"size": "1"}}])
def test_a_list_that_is_damaged_is_one_sentence(folder, files):
    with pytest.raises(InputError, match=r"/record` is damaged .*; move `.*` away"):
        list(unknown_files(folder, files, "record"))
