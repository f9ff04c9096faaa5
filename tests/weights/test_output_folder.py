"""Folders: there whole, or not at all, and never in place of somebody else's."""

import hashlib
import itertools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.project import Project
from ftbridge.launchers.runs import written_files
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.weights.output_folder import fresh_folder, refuse_foreign, refuse_overlap
from ftbridge.weights.source import ModelSource


def content(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def make(target, *names, error=None, kind="merged"):
    with fresh_folder(target, kind) as folder:
        for name in names:
            (folder / name).write_text(name)
        if error:
            raise error


def older(folder, *names, **card):
    """Make a folder as a version without a list of files did."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(name)
    (folder / CARD).write_text(json.dumps(card))


def test_new_folder_appears_only_with_all_its_files(tmp_path):
    make(tmp_path / "deep" / "new", "a", "b")
    assert content(tmp_path) == {"deep", "deep/new", "deep/new/a", "deep/new/b", f"deep/new/{CARD}"}


def test_a_relative_folder_is_made_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make((tmp_path / "new").relative_to(tmp_path), "a")
    assert content(tmp_path) == {"new", "new/a", f"new/{CARD}"}


def test_files_of_a_finished_folder_are_on_record(tmp_path, monkeypatch):
    monkeypatch.setattr(written_files, "SMALL_FILE_BYTES", 10)
    with fresh_folder(tmp_path / "new", "adapter") as folder:
        (folder / CARD).write_text('{"base": "somewhere"}')
        (folder / "small").write_text("a")
        (folder / "large").write_text("a" * 11)
    assert json.loads((tmp_path / "new" / CARD).read_text()) == {
        "base": "somewhere",
        "kind": "adapter",
        "files": {"large": {"size": 11}, "small": {"size": 1, "sha256": hashlib.sha256(b"a").hexdigest()}},
    }


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, InputError])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    with pytest.raises(error):
        make(tmp_path / "new", "a", error=error())
    assert content(tmp_path) == set()
    make(tmp_path / "new", "old")
    with pytest.raises(error):
        make(tmp_path / "new", "a", error=error())
    assert content(tmp_path) == {"new", f"new/{CARD}", "new/old"}


def test_folder_that_is_ours_or_empty_is_replaced(tmp_path):
    (tmp_path / "new").mkdir()
    make(tmp_path / "new", "old")
    make(tmp_path / "new", "a")
    assert content(tmp_path) == {"new", "new/a", f"new/{CARD}"}


def test_folder_of_an_older_version_is_replaced(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "modeling_x.py").touch()
    known = (
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "config.json",
        "chat_template.jinja",
        "modeling_x.py",
    )
    older(tmp_path / "new", *known, base=str(tmp_path / "base"))
    make(tmp_path / "new", "a")
    assert content(tmp_path / "new") == {"a", CARD}
    older(tmp_path / "other", *known, base="/nowhere")
    with pytest.raises(InputError, match=r"did not write: `modeling_x\.py`; move"):
        make(tmp_path / "other", "a")


def test_a_link_to_a_folder_of_ours_stays_one(tmp_path):
    make(tmp_path / "disk" / "new", "old")
    (tmp_path / "new").symlink_to(tmp_path / "disk" / "new")
    make(tmp_path / "new", "a")
    assert (tmp_path / "new").is_symlink()
    assert content(tmp_path / "disk") == {"new", "new/a", f"new/{CARD}"}


def add_file(folder):
    (folder / "my_notes.txt").write_text("mine")


def add_folder(folder):
    (folder / "mywork" / "deep").mkdir(parents=True)
    (folder / "mywork" / "deep" / "thesis.txt").write_text("mine")


def add_hidden(folder):
    (folder / ".git").mkdir()


def add_link(folder):
    (folder / "link").symlink_to("/nowhere")


def make_folder(folder):
    (folder / "config.json").unlink()
    add_file_in = folder / "config.json"
    add_file_in.mkdir()
    (add_file_in / "thesis.txt").write_text("mine")


def make_link(folder):
    (folder / "config.json").rename(folder.parent / "elsewhere")
    (folder / "config.json").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("record", ["with a list", "without"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add_file, "`my_notes.txt`"),
        (add_folder, "`mywork/`"),
        (add_hidden, "`.git/`"),
        (add_link, "`link`"),
        (make_folder, "`config.json/`"),
        (make_link, "`config.json`"),
    ],
)
def test_a_folder_that_is_not_wholly_ours_is_left_alone(tmp_path, change, said, record):
    target = tmp_path / "new"
    if record == "without":
        older(target, "config.json")
    else:
        make(target, "config.json")
    change(target)
    before = content(tmp_path)
    with pytest.raises(InputError, match=f"new` would be replaced, .* did not write: {re.escape(said)}; move.*`--out`"):
        make(target, "a")
    with pytest.raises(InputError, match="did not write"):
        refuse_foreign(target, "merged")
    assert content(tmp_path) == before


@pytest.mark.parametrize("text", ["config.jsom", "config.json more"])
def test_a_file_of_ours_that_was_edited_is_left_alone(tmp_path, text):
    make(tmp_path / "new", "config.json")
    (tmp_path / "new" / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"did not write: `config\.json`, which was changed since; move"):
        make(tmp_path / "new", "a")
    assert (tmp_path / "new" / "config.json").read_text() == text
    (tmp_path / "new" / "config.json").unlink()
    make(tmp_path / "new", "a")


def test_many_foreign_files_are_named_in_part_and_counted(tmp_path):
    make(tmp_path / "new")
    for number in range(1200):
        (tmp_path / "new" / f"{number:04}").touch()
    with pytest.raises(InputError, match=r"write: `0000`, .*`0004` and 1,195 more; move"):
        make(tmp_path / "new", "a")


def test_file_added_while_a_folder_is_replaced_is_put_back(tmp_path):
    make(tmp_path / "new", "old")
    with (
        pytest.raises(InputError, match=r"/new` would be replaced, .*`my_notes.txt`"),
        fresh_folder(tmp_path / "new", "merged"),
    ):
        add_file(tmp_path / "new")
    assert content(tmp_path) == {"new", f"new/{CARD}", "new/old", "new/my_notes.txt"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("merged", "adapter", "a merged model"),
        ("merged", "model", "a merged model"),
        ("adapter", "merged", "an adapter"),
        ("adapter", "model", "an adapter"),
        ("model", "merged", "a model"),
        ("model", "adapter", "a model"),
    ],
)
def test_folder_with_another_kind_of_result_is_left_alone(tmp_path, before, after, said):
    make(tmp_path / "new", "a", kind=before)
    with pytest.raises(InputError, match=f"new` holds {said}, which this would replace; choose another folder"):
        make(tmp_path / "new", "b", kind=after)
    make(tmp_path / "new", "b", kind=before)


def test_older_versions_folder_of_another_kind_is_left_alone(tmp_path):
    older(tmp_path / "adapter", "adapter_config.json")
    older(tmp_path / "model", "config.json")
    for name, kind in (("adapter", "merged"), ("adapter", "model"), ("model", "adapter")):
        with pytest.raises(InputError, match="which this would replace"):
            make(tmp_path / name, "a", kind=kind)
    make(tmp_path / "adapter", "a", kind="adapter")
    make(tmp_path / "model", "a", kind="merged")


@pytest.mark.parametrize("record", ['{"files": 1}', '{"files": {"a": {"size": "1"}}}', "[]", "{", '{"kind": 1}'])
def test_a_record_that_is_damaged_frees_nothing(tmp_path, record):
    make(tmp_path / "new", "a")
    (tmp_path / "new" / CARD).write_text(record)
    with pytest.raises(InputError):
        make(tmp_path / "new", "b")
    assert content(tmp_path / "new") == {"a", CARD}


@pytest.mark.slow
def test_a_kill_between_the_renames_loses_nothing(tmp_path):
    make(tmp_path / "new", "old")
    code = """
import os, sys
from pathlib import Path
from ftbridge.weights.output_folder import fresh_folder
target, left = Path(sys.argv[1]), int(sys.argv[2])
os.fsync = lambda _: None

def hook(event, _):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)

with fresh_folder(target, "merged") as folder:
    (folder / "a").touch()
    sys.addaudithook(hook)
"""
    for kept in itertools.count():
        done = subprocess.run([sys.executable, "-c", code, tmp_path / "new", str(kept)], check=False)
        if not done.returncode:
            break
        assert done.returncode == -signal.SIGKILL
        with pytest.raises(ZeroDivisionError):
            make(tmp_path / "new", error=ZeroDivisionError())
        assert content(tmp_path) in ({"new", f"new/{CARD}", "new/old"}, {"new", f"new/{CARD}", "new/a"})
    assert kept > 4
    assert content(tmp_path) == {"new", f"new/{CARD}", "new/a"}


def test_file_or_folder_not_written_by_ftbridge_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    before = content(tmp_path)
    for name in ("file", "folder"):
        with pytest.raises(InputError, match=f"{name}` exists and was not written by ftbridge.*--out"):
            make(tmp_path / name, "a")
    assert content(tmp_path) == before


def test_leftover_of_a_dead_process_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    for name in (".new.0123ab_z.part", ".other.0123ab_z.part", ".new.mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("")
    with fresh_folder(tmp_path / "new", "merged"):
        assert not (tmp_path / ".new.0123ab_z.part").exists()
        make(tmp_path / "new", "a")
        assert len(list(tmp_path.glob(".new.*.part"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"new", ".other.0123ab_z.part", ".new.mine"}


@pytest.mark.parametrize("name", ["m.v2", "m.v2.part", "m.12345678"])
def test_the_only_copy_of_a_folder_whose_name_begins_alike_stays(tmp_path, name):
    old = tmp_path / f".{name}.0123ab_z.part" / "old"
    make(old, "weights")
    (old.parent / "lock").touch()  # killed between the two renames
    for _ in range(2):
        make(tmp_path / "m", "a")
    assert content(old) == {"weights", CARD}
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / name, error=ZeroDivisionError())
    assert content(tmp_path / name) == {"weights", CARD}


def test_output_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot write `.*below`: "):
        make(tmp_path / "file" / "below")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in a folder with an adapter and a base; returns a function that says whether `--out` may be this one."""
    monkeypatch.chdir(tmp_path)
    for name in ("work/adapter", "models/base", "models/other"):
        Path(name).mkdir(parents=True)
    source = ModelSource(project=Project.find(), folder=Path("work/adapter").resolve(), run=None)

    def refused(target):
        said = ""
        try:
            refuse_overlap(Path(target), source, Path("models/base"), [Path("models/other")])
        except InputError as error:
            said = str(error)
        found = re.fullmatch(r"`(.+?)` cannot be written to: the (.+); choose another folder with `--out`", said)
        assert not said or found[1] == str(Path(target).resolve())
        return found[2] if said else ""

    return refused


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("work/adapter", "source is there"),
        ("work/./adapter/../adapter/", "source is there"),
        ("work/adapter/merged", "source is around it"),
        ("work", "source is in it"),
        (".", "source is in it"),
        ("models/base", "base model is there"),
        ("models/base/new/deep", "base model is around it"),
        ("models", "base model is in it"),
        ("models/other", "adapter `models/other` is there"),
        ("link", "base model is there"),
        ("link/new", "base model is around it"),
        ("models/new", ""),
        ("work/adapter2", ""),
        ("models/base2/new", ""),
    ],
)
def test_output_onto_a_source_or_base_is_refused(place, target, said):
    Path("link").symlink_to("models/base")
    assert place(target) == said


MOUNTED = """
import subprocess
from pathlib import Path
from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.launchers.runs import written_files
from ftbridge.weights.output_folder import refuse_overlap
from ftbridge.weights.source import ModelSource
subprocess.run(["mount", "--bind", "models", "again"], check=True)
source = ModelSource(project=Project.find(), folder=Path("work/adapter").resolve(), run=None)
for target in ("again", "again/base", "again/base/new", "again/new"):
    try:
        refuse_overlap(Path(target), source, Path("models/base"))
    except InputError as error:
        print(str(error).partition(": ")[2].partition(";")[0])
    else:
        print("fine")
"""


def test_a_bind_mount_is_seen_through(place):
    Path("again").mkdir()
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*own, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts of one's own here")
    done = subprocess.run([*own, sys.executable, "-c", MOUNTED], check=True, capture_output=True, text=True)
    base = "the base model is"
    assert done.stdout.splitlines() == [f"{base} in it", f"{base} there", f"{base} around it", "fine"]
