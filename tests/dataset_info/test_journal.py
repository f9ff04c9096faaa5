"""A dataset that is replaced is the old one or the new one, wherever the process that replaces it is killed."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import sha256
from ftbridge.dataset_info import journal
from ftbridge.dataset_info.registry import FILE, read_entries, register, remove

OLD = {"split": "6:2:2", "to": ["xtuner", "alpaca", "sharegpt"], "on_error": "skip", "xlsx": True}
NEW = {"split": "7:3", "sample": "3", "to": ["xtuner", "alpaca"], "max_rejected": "1"}
# Before each call that gives or takes a name, a child of its own kills itself, in a copy of `start`.
KILLS = """
import json, os, shutil, signal, sys
from pathlib import Path
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.dataset_info.registry import read_entries, remove

place, what, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
left = 0
os.fsync = lambda _: None  # a kill loses nothing that was written

def hook(event, values):
    global left
    if event in ("os.rename", "os.link", "os.remove"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

for number in range(1000):
    shutil.copytree(place / "start", place / str(number))
    child = os.fork()
    if not child:
        os.chdir(place / str(number))
        left = number
        sys.addaudithook(hook)
        if what == "convert":
            convert("faq.jsonl", replace=True, **options)
        elif what == "recover":
            read_entries(Path("data"))
        else:
            remove(Path("data"), ["faq"])
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    assert number < 999
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Stand in the project `start`, whose source has a row to reject; returns the folder around it."""
    rows = [{"question": f"why {at}?", "answer": f"so {at}" if at else ""} for at in range(21)]
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    Path("faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def killed(start, what="convert", **options):
    """Kill it everywhere; return the folders that were left, but for that of the one that came through."""
    subprocess.run([sys.executable, "-c", KILLS, start, what, json.dumps(options)], check=True)
    folders = sorted((path for path in start.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert len(folders) > 10
    return folders


def stop_halfway(monkeypatch):
    """Replace the dataset until that is decided, and no further."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert("faq.jsonl", **NEW, replace=True)


def registered(folder):
    """Return what is registered, as somebody reads it who knows no journal; all its files must be whole."""
    file = folder / "data" / FILE
    known = json.loads(file.read_bytes()) if file.exists() else {}
    for raw in known.values():
        own = raw["ftbridge"]
        assert raw["file_name"] in own["files"].values()
        for target, name in own["files"].items():
            assert sha256(folder / "data" / name) == own["options"]["sha256"][target]
    return list(known)


def names(folder, data="data"):
    return {path.name for path in (folder / data).iterdir() if path.suffix != ".lock"}


def visible(folder):
    """Return the files that are there, with their content: a killed conversion's own are hidden until it is decided."""
    return {name: sha256(folder / "data" / name) for name in names(folder) if not name.startswith(".")}


def expected(folder):
    return {FILE} | {
        name
        for raw in read_entries(folder / "data").values()
        for name in (*raw["ftbridge"]["files"].values(), *raw["ftbridge"]["options"]["rejected"])
    }


@pytest.mark.slow
@pytest.mark.parametrize("before", [OLD, None], ids=["replaced", "new"])
def test_replacement_killed_anywhere_leaves_the_old_dataset_or_the_new_one(start, before):
    if before:
        convert("faq.jsonl", **before)
    old, old_names = visible(start / "start") if before else {}, registered(start / "start")
    *folders, whole = killed(start, **NEW)
    new = visible(whole)
    found = []
    for folder in folders:
        now = registered(folder)
        assert now in (old_names, registered(whole)), folder.name
        found.append(now)
        read_entries(folder / "data")  # as `ftbridge datasets list` does
        assert registered(folder) == now
        if (folder / "data").exists():
            assert visible(folder) == (new if now == registered(whole) else old)
            assert now == old_names or names(folder) == names(whole)
        os.chdir(folder)
        convert("faq.jsonl", **NEW, replace=True)
        assert visible(folder) == new
        assert names(folder) == expected(folder)
    turn = found.index(registered(whole))
    assert found[:turn] == [old_names] * turn
    assert found[turn:] == [registered(whole)] * (len(found) - turn)


@pytest.mark.slow
def test_recovery_killed_anywhere_can_be_recovered_again(start, monkeypatch):
    convert("faq.jsonl", **OLD)
    stop_halfway(monkeypatch)
    assert any(name.endswith(journal.STAGED) for name in names(start / "start"))
    assert len(registered(start / "start")) == 3
    *folders, whole = killed(start, "recover")
    for folder in folders:
        assert registered(folder) == registered(whole)
        assert list(read_entries(folder / "data")) == registered(whole)
        assert visible(folder) == visible(whole)
        assert names(folder) == names(whole) == expected(whole)


@pytest.mark.slow
def test_removal_killed_anywhere_takes_the_dataset_out_or_leaves_it(start):
    convert("faq.jsonl", **OLD)
    old = visible(start / "start")
    *folders, whole = killed(start, "remove")
    assert names(whole) == {FILE}
    for folder in folders:
        left = read_entries(folder / "data")
        assert visible(folder) == (old if left else visible(whole))
        assert not [name for name in names(folder) if name == journal.FILE]
        if left:
            remove(folder / "data", ["faq"])
        assert visible(folder) == visible(whole)


def test_file_system_without_hard_links_gets_renamed_files(start, monkeypatch):
    staged = set()

    def refused(_, target):
        staged.add(target.stat().st_ino)
        raise PermissionError(1, "Operation not permitted")

    convert("faq.jsonl", **OLD)
    monkeypatch.setattr(Path, "hardlink_to", refused)
    convert("faq.jsonl", **NEW, replace=True)
    assert len(registered(start / "start")) == 3
    assert names(start / "start") == expected(start / "start")
    assert staged < {path.stat().st_ino for path in Path("data").iterdir()}


def fill(monkeypatch):
    """Let the disk be full once it is decided, until a file is gone."""
    write, most = journal.write_atomic, []

    def refuse(path):
        files = list(Path("data").iterdir())
        if not most and Path("data", FILE).exists() and journal.STAGED in Path("data", FILE).read_text():
            most.append(len(files))
        if most and len(files) >= most[0]:
            raise SetupError(f"cannot write `{path}`: No space left on device")

    def link(path, target):
        try:
            refuse(path)
        except SetupError as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        os.link(target, path)

    def with_room(path, content):
        refuse(path)
        write(path, content)

    monkeypatch.setattr(journal, "write_atomic", with_room)
    monkeypatch.setattr(Path, "hardlink_to", link)


def test_decided_change_on_a_full_disk_is_finished_later(start, monkeypatch, capsys):
    convert("faq.jsonl", **OLD)
    with monkeypatch.context() as patch:
        fill(patch)
        convert("faq.jsonl", **NEW, replace=True)
        assert "No space left on device; all datasets are registered; the next command" in capsys.readouterr().err
        assert len(registered(start / "start")) == 3
        assert list(read_entries(Path("data"))) == registered(start / "start")
        with pytest.raises(SetupError, match="No space left"):
            convert("faq.jsonl", name="another", on_error="skip")
    read_entries(Path("data"))
    assert names(start / "start") == expected(start / "start")


@pytest.mark.parametrize("before", [OLD, None], ids=["replaced", "new"])
@pytest.mark.parametrize("name", ["faq", "faq-test"])
def test_on_a_full_disk_a_dataset_can_be_taken_out(start, monkeypatch, before, name):
    if before:
        convert("faq.jsonl", **before)
    with monkeypatch.context() as patch:
        fill(patch)
        convert("faq.jsonl", **NEW, replace=True)
        assert any(each.endswith(journal.STAGED) for each in names(start / "start"))
        remove(Path("data"), [name])
        assert registered(start / "start") == ([] if name == "faq" else ["faq-train", "faq-train-3"])
    read_entries(Path("data"))
    assert names(start / "start") == expected(start / "start")
    assert registered(start / "start") == ([] if name == "faq" else ["faq-train", "faq-train-3"])


def test_a_disk_that_was_full_before_takes_a_dataset_out(start, monkeypatch):
    convert("faq.jsonl", **OLD)
    write, there = journal.write_atomic, len(list(Path("data").iterdir()))

    def with_room(path, content):
        if len(list(Path("data").iterdir())) >= there:
            raise SetupError("No space left on device")
        write(path, content)

    monkeypatch.setattr(journal, "write_atomic", with_room)
    remove(Path("data"), ["faq"])
    assert names(start / "start") == {FILE}


@pytest.mark.parametrize("before", [OLD, None], ids=["replaced", "new"])
def test_files_left_behind_by_a_moved_dataset_are_not_deleted(start, monkeypatch, before):
    if before:
        convert("faq.jsonl", **before)
    stop_halfway(monkeypatch)
    Path("new").mkdir()
    for path in Path("data").glob("[!.]*"):
        path.rename(Path("new", path.name))
    left = names(start / "start")
    for use in (read_entries, lambda folder: register(folder, {})):
        with pytest.raises(InputError, match=r"dataset_info\.json` is gone, .*; nothing was moved or deleted"):
            use(Path("data"))
    assert names(start / "start") == left
    for path in Path("data").glob(".*"):
        path.rename(Path("new", path.name))
    read_entries(Path("new"))
    Path("data").rmdir()
    Path("new").rename("data")
    assert len(registered(start / "start")) == 3
    assert names(start / "start") == expected(start / "start")


def test_dataset_whose_staged_files_were_lost_can_be_replaced(start, monkeypatch):
    convert("faq.jsonl", **OLD)
    stop_halfway(monkeypatch)
    for path in Path("data").glob(".*"):
        path.unlink()
    convert("faq.jsonl", **NEW, replace=True)
    assert len(registered(start / "start")) == 3
    assert names(start / "start") > expected(start / "start")  # what the old entries named, nobody knows any more


def test_file_renamed_before_a_kill_goes_with_its_reverted_entry(start, monkeypatch):
    convert("faq.jsonl", **OLD)
    text = Path("data", FILE).read_text()
    stop_halfway(monkeypatch)
    staged = next(Path("data").glob(".faq-train-3.xtuner.*"))
    Path("data/faq-train-3.xtuner.jsonl").hardlink_to(staged)
    Path("data", FILE).write_text(text)
    read_entries(Path("data"))
    assert names(start / "start") == expected(start / "start")


def test_interrupted_change_is_read_whole_on_a_read_only_disk(start, monkeypatch):
    convert("faq.jsonl", **OLD)
    stop_halfway(monkeypatch)

    def full(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(journal, "write_atomic", full)
    assert list(read_entries(Path("data"))) == registered(start / "start")


@pytest.mark.parametrize(
    "wrong",
    [
        {"removes": ["../thesis.txt"]},
        {"removes": [FILE]},
        {"removes": [".bashrc"]},
        {"moves": {".faq.jsonl.1.staged.jsonl": "../faq.jsonl"}},
        {"moves": {"thesis.txt": "faq.jsonl"}},
        {"moves": {"../.faq.jsonl.1.staged.jsonl": "faq.jsonl"}},
        {"entries": {"faq": 1}},
        {"more": 1},
        {"drop": [[]]},
    ],
    ids=str,
)
def test_journal_that_names_files_outside_its_folder_is_not_followed(tmp_path, wrong):
    (tmp_path / "data").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    content = {"entries": {}, "drop": [], "moves": {}, "removes": [], **wrong}
    with contextlib.suppress(TypeError, ValueError):  # signed as it is, as far as that is possible
        content = msgspec.to_builtins(msgspec.convert(content, journal.Journal).signed())
    (tmp_path / "data" / journal.FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"journal` was not written by ftbridge, or is damaged .*; delete that file"):
        read_entries(tmp_path / "data")
    with pytest.raises(InputError, match="delete it"):
        register(tmp_path / "data", {})
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_damaged_journal_is_one_sentence(tmp_path, content):
    (tmp_path / journal.FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"journal` was not written by ftbridge, or is damaged"):
        read_entries(tmp_path)


def unsigned(folder, **content):
    """Put a journal there that anybody may have written."""
    content = {"entries": {}, "drop": [], "moves": {}, "removes": [], **content}
    (folder / journal.FILE).write_text(json.dumps(content))


@pytest.mark.parametrize("signature", ["", "00", "é"])
def test_journal_with_a_foreign_signature_deletes_nothing(tmp_path, signature):
    (tmp_path / "precious.csv").write_text("mine")
    known = {"precious.csv": sha256(tmp_path / "precious.csv")}
    unsigned(tmp_path, removes=["precious.csv"], sha256=known, signature=signature)
    for use in (read_entries, lambda folder: register(folder, {})):
        with pytest.raises(InputError, match=r"no signature made by you on this machine.*; nothing else was touched"):
            use(tmp_path)
    assert (tmp_path / "precious.csv").read_text() == "mine"


def test_unsigned_journal_removes_only_files_of_the_recorded_sha256(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(journal, "sign", lambda *_, **__: "")
    for name in ("precious.csv", "known.csv"):
        (tmp_path / name).write_text("mine")
    unsigned(tmp_path, removes=["precious.csv", "known.csv"], sha256={"known.csv": sha256(tmp_path / "known.csv")})
    read_entries(tmp_path)
    assert names(tmp_path, "") == {"precious.csv"}
    assert "precious.csv` was kept: it was changed after" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["faq-train.alpaca.jsonl", "faq-validation.alpaca.jsonl"])
def test_file_edited_after_a_kill_stays(start, monkeypatch, name):
    """The first of them is to be replaced, the other to be removed."""
    convert("faq.jsonl", **OLD)
    stop_halfway(monkeypatch)
    edited = Path("data", name)
    edited.write_text("mine")
    read_entries(Path("data"))
    assert edited.read_text() == "mine"
    assert len(registered(start / "start")) == 3
    if name.startswith("faq-train"):
        with pytest.raises(SetupError, match="was changed while a conversion was about to replace it; move it away"):
            register(Path("data"), {})
    edited.rename("mine")
    read_entries(Path("data"))
    assert names(start / "start") == expected(start / "start")


@pytest.mark.parametrize("name", [FILE, journal.FILE])
def test_pipe_in_the_place_of_a_journal_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for use in (read_entries, lambda folder: register(folder, {})):
        with pytest.raises(InputError, match=r"it is not a regular file"):
            use(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [name]
