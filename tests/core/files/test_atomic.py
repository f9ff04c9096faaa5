"""Files: whole or not at all, and one writer at a time."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import atomic_file, locked, read_text, sha256_of_files, write_atomic

ADD_ONE = """
import sys
from pathlib import Path
from ftbridge.core.files.atomic import locked, write_atomic
counter = Path(sys.argv[1])
for _ in range(25):
    with locked(counter):
        write_atomic(counter, str(int(counter.read_text()) + 1))
"""


def write_half(path, error):
    with atomic_file(path) as opened:
        opened.write(b"half")
        opened.flush()
        raise error


def test_text_and_bytes_are_written_and_folders_made(tmp_path):
    file = tmp_path / "new" / "folder" / "file"
    write_atomic(file, "药\n")
    assert file.read_bytes() == "药\n".encode()
    write_atomic(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert list(file.parent.iterdir()) == [file]


def test_leftovers_of_a_killed_write_go_and_those_of_similar_names_stay(tmp_path):
    theirs = {".file.b.0123abcd.part", ".file.mine.part", ".file.part", "file.0123abcd.part"}
    for name in (".file.0123abcd.part", *theirs):
        (tmp_path / name).touch()
    write_atomic(tmp_path / "file", "")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *theirs}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with pytest.raises(error):
        write_half(file, error)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_atomically_written_file_gets_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", "")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_unwritable_path_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError, match=r"cannot write `.*below`"):
        write_atomic(tmp_path / "file" / "below", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetupError, match=r"cannot write `.*folder`: Is a directory"):
        write_atomic(tmp_path / "folder", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.slow
def test_processes_that_lock_one_file_wait_for_each_other(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", ADD_ONE, counter]) for _ in range(4)]
    assert [child.wait(timeout=300) for child in children] == [0, 0, 0, 0]
    assert counter.read_text() == "100"


def test_lock_that_stays_taken_is_refused_with_its_file(tmp_path, monkeypatch):
    from filelock import FileLock, Timeout

    monkeypatch.setattr("filelock.FileLock", lambda lock, **_: FileLock(lock, timeout=0.01))
    with (
        FileLock(tmp_path / ".state.json.lock"),
        pytest.raises(SetupError, match=r"\.state\.json\.lock` for 60 seconds") as raised,
        locked(tmp_path / "state.json"),
    ):
        pass
    assert isinstance(raised.value.__cause__, Timeout)


def test_a_folder_that_cannot_be_written_cannot_be_locked(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot write"), locked(tmp_path / "file" / "state.json"):
        pass


def test_unreadable_text_file_is_refused_with_its_purpose(tmp_path):
    for codec in ("utf-8", "utf-8-sig"):
        (tmp_path / "good").write_bytes("药".encode(codec))
        assert read_text(tmp_path / "good", "settings file") == "药"
    with pytest.raises(InputError, match=r"there is no settings file at `.*absent`"):
        read_text(tmp_path / "absent", "settings file")
    (tmp_path / "bad").write_bytes("中文".encode("gbk"))
    with pytest.raises(InputError, match=r"the settings file `.*bad` is not in UTF-8; save it as UTF-8"):
        read_text(tmp_path / "bad", "settings file")
    with pytest.raises(InputError, match=r"cannot read the settings file `.*`: Is a directory"):
        read_text(tmp_path, "settings file")


def test_a_text_that_is_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"cannot read the settings file `.*`: it is not a regular file"):
            read_text(path, "settings file")


def test_text_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(InputError, match=r"the card `.*huge` is larger than 64 MiB"):
        read_text(tmp_path / "huge", "card")


def test_the_sha256_of_several_files_is_that_of_what_sha256sum_prints(tmp_path):
    files = {name: tmp_path / name for name in ("b.txt", "a.txt")}
    for name, file in files.items():
        file.write_text(name)
    printed = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout
    assert sha256_of_files(files) == hashlib.sha256(printed).hexdigest()
    assert sha256_of_files(dict(reversed(files.items()))) != sha256_of_files(files)
    assert sha256_of_files({"odd\udcff": files["a.txt"]}) != sha256_of_files({"odd": files["a.txt"]})


def test_pipe_in_the_place_of_a_file_is_not_replaced(tmp_path):
    """As root, a path such as /dev/null would be."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match=r"cannot write `.*pipe`: it is not a regular file"):
        write_atomic(tmp_path / "pipe", "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
