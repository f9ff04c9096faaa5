"""Sources named, and what is opened."""

import gzip
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftbridge.adapters.sources import locate
from ftbridge.adapters.sources.detection import open_path
from ftbridge.adapters.sources.locate import Origin, open_origin, origins
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.records import Reading

READING = Reading()


@pytest.fixture
def files(folder):
    """Write some tables, and return their folder."""
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("b.csv", "a.csv", "deep/er/c.csv", "a[b].csv", "ab.txt"):
        (folder / name).write_text(f"question,answer\n{name},1\n", "utf-8")
    return folder


@pytest.fixture
def piped(monkeypatch):
    """Return a function that puts bytes into standard input."""

    def send(content, *, terminal=False):
        stream = io.TextIOWrapper(io.BytesIO(content))
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stream)
        locate._standard_input.cache_clear()

    yield send
    locate._standard_input.cache_clear()


def open_all(sources):
    return [table for origin in origins(sources) for table in open_origin(origin, READING, {})]


def first(tables):
    return [table.first[0].values["question"] for table in tables]


def test_files_and_globs_are_opened_in_order(files):
    assert first(open_all(["b.csv", "deep/**", "ab.txt"])) == ["b.csv", "deep/er/c.csv", "ab.txt"]
    assert first(open_all(["?.csv"])) == ["a.csv", "b.csv"]
    assert first(open_all([str(files / "*.txt")])) == ["ab.txt"]


def test_a_glob_leaves_out_the_marks_of_open_workbooks(files):
    (files / "~$a.csv").write_bytes(b"\5me")
    assert first(open_all(["*a.csv"])) == ["a.csv"]


def test_a_lock_file_among_others_is_skipped_with_a_note_and_refused_alone(files, capsys):
    (files / "~$a.xlsx").write_bytes(b"\5me \0")
    assert [origin.name for origin in origins(["a.csv", "~$a.xlsx"])] == ["a.csv"]
    assert capsys.readouterr().err == "note: skipped `~$a.xlsx`: Excel's lock file of an open workbook\n"
    with pytest.raises(InputError, match=r"is Excel's lock file; convert `a\.xlsx` instead"):
        open_origin(*origins(["~$a.xlsx"]), READING, {})


def test_a_file_that_is_not_there_is_named_with_what_was_meant(files):
    (files / "my questions.csv").write_text("q,a\n")
    hints = {"a.cvs": "did you mean `a.csv`", "deep/c.csv": "`deep/c.csv`$", "my": "quotes: 'my questions.csv'"}
    for source, hint in hints.items():
        with pytest.raises(InputError, match=hint):
            origins([source])


def test_existing_file_with_brackets_in_its_name_is_no_glob(files):
    assert first(open_all(["a[b].csv"])) == ["a[b].csv"]


def test_a_tilde_is_the_home_folder(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    assert first(open_all(["~/a.csv", "~/deep/er/*"])) == ["a.csv", "deep/er/c.csv"]


def test_an_address_on_the_web_is_refused():
    with pytest.raises(UsageError, match="download the file"):
        origins(["https://example.com/a.csv"])


@pytest.mark.parametrize("again", ["./a.csv", "a.*", "link.csv"])
def test_a_file_given_twice_is_refused(files, again):
    (files / "link.csv").symlink_to("a.csv")
    with pytest.raises(InputError, match="is given twice"):
        open_all(["a.csv", again])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.csv", "there is no file `gone.csv`"),
        ("*.gone", r"no file matches `\*.gone`"),
        ("broken", "`broken` is a link to `nowhere`, which does not exist"),
        ("loop", "`loop` cannot be read: Too many levels"),
        ("pipe", "`pipe` is a pipe or a device"),
        ("/dev/zero", "`/dev/zero` is a pipe or a device"),
        ("empty.csv", "`empty.csv` is empty"),
        ("nothing", "`nothing` holds no data that can be read; it is empty"),
        ("faq.zip", "`faq.zip` is a zip archive, not a workbook; it holds `a.csv`"),
        ("faq.tar.gz", "`faq.tar.gz` is a tar archive; unpack it"),
        ("faq.csv.gz", "`faq.csv.gz` is packed twice; unpack it"),
        ("faq.bin", "`faq.bin` is of an unsupported format; supported are: workbooks"),
        ("a" * 300, "cannot be read: File name too long"),
        ("a\0b", "there is no file"),
    ],
)
def test_unreadable_source_is_one_sentence(files, source, message):
    (files / "broken").symlink_to("nowhere")
    (files / "loop").symlink_to("loop")
    os.mkfifo(files / "pipe")
    (files / "nothing").mkdir()
    (files / "empty.csv").touch()
    (files / "faq.bin").write_bytes(bytes(range(256)))
    with zipfile.ZipFile(files / "faq.zip", "w") as archive:
        archive.write("a.csv")
    (files / "faq.csv.gz").write_bytes(gzip.compress(gzip.compress(b"a,b")))
    with tarfile.open(files / "faq.tar.gz", "w:gz") as archive:
        archive.add("a.csv")
    with pytest.raises(InputError, match=message):
        open_all([source])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_source_without_permission_is_one_sentence(files):
    (files / "a.csv").chmod(0)
    (files / "deep").chmod(0)
    for source in ("a.csv", "deep", "deep/er/c.csv"):
        with pytest.raises(InputError, match="cannot be read: Permission denied"):
            open_all([source])
    (files / "deep").chmod(0o700)


@pytest.mark.parametrize(
    "content",
    [b"question,answer\nq,1\n", b'{"question": "q"}\n{"question": "r"}\n', b'[{"question": "q"}]'],
    ids=["csv", "jsonl", "json"],
)
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_read_by_its_content(files, piped, content, name):
    piped(content)
    own, sent = open_all(["a.csv", name])
    assert (own.file, sent.file) == ("a.csv", "standard input")
    assert str(next(row for piece in sent.pieces for row in piece.rows()).where).startswith("standard input ")


def test_standard_input_is_kept_in_a_file_that_can_be_found_again(piped):
    piped(b"a,b\n1,2\n")
    (origin,) = origins(["-"])
    assert origin.path.read_bytes() == b"a,b\n1,2\n"
    assert origins(["-"]) == [origin]


def test_standard_input_is_needed_once_and_with_something_in_it(piped):
    piped(b"a,b\n1,2\n")
    with pytest.raises(InputError, match="`-` is given twice"):
        open_all(["-", "-"])
    piped(b"")
    with pytest.raises(InputError, match=r"^standard input is empty"):
        open_all(["-"])
    piped(b"a,b\n", terminal=True)
    with pytest.raises(UsageError, match="`-` reads standard input, but nothing is piped into it"):
        open_all(["-"])


def test_origins_of_sources_have_names_and_stems(files):
    (files / "faq.csv.gz").touch()
    named = ["hf://owner/name:one@train", "a.csv", "faq.csv.gz", "deep", "preset:self-cognition", "deep/er/c.csv"]
    found = origins(named)
    assert found[0] == Origin(named[0], url=named[0])
    assert [origin.stem for origin in found] == ["name-one-train", "a", "faq", "deep", "self-cognition", "c"]
    (files / "deep" / "Train.csv").touch()
    assert [origin.stem for origin in origins(["deep/Train.csv"])] == ["deep"]
    (files / "deep" / "a.csv").write_text("x")
    assert [origin.name for origin in origins(["a.csv", "deep/a.csv", "b.csv"])] == ["a.csv", "deep/a.csv", "b.csv"]


def test_settings_for_a_source_that_is_no_preset_are_refused(files):
    with pytest.raises(UsageError, match=r"`a\.csv` is not one of them"):
        open_origin(origins(["a.csv"])[0], READING, {"name": "x"})
    (table,) = open_origin(origins(["preset:self-cognition"])[0], READING, {"name": "x", "author": "y", "count": "3"})
    assert len(table.first) == 3


def test_addresses_of_hubs_are_opened_in_their_place(files, monkeypatch):
    hub = SimpleNamespace(open_url=lambda url, reading: open_path(Path(url.rpartition("/")[2]), reading))
    monkeypatch.setitem(sys.modules, "ftbridge.adapters.sources.repository.hub", hub)
    assert first(open_all(["a.csv", "hf://owner/b.csv", "ab.txt"])) == ["a.csv", "b.csv", "ab.txt"]
