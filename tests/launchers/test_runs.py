"""Runs: a folder each, a record that tells the truth, and the last one found."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project, Settings
from ftbridge.launchers import runs
from ftbridge.launchers.summaries import summary

from . import made_up


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, Settings())


def record(project, name, status="succeeded", pid=None):
    """Save and return a run called `name`."""
    return made_up.run(project, name, status, pid=pid, gpus="all", set={"a": "1"})


def dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_folders_of_the_same_second_do_not_meet(project):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: runs.new_folder(project, "xtuner-faq"), range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() and folder.parent == project.runs for folder in folders)
    assert all("-xtuner-faq" in folder.name for folder in folders)


def test_a_record_reads_back_as_it_was(project):
    run = record(project, "one")
    assert runs.load(project.runs / "one") == run
    assert run.path == project.runs / "one"
    assert (run.path / "run.json").read_bytes().endswith(b"\n")


def test_a_run_that_was_moved_knows_its_new_place(project, tmp_path):
    record(project, "one").path.rename(tmp_path / "moved")
    assert runs.load(tmp_path / "moved").path == tmp_path / "moved"


def test_an_end_is_kept(project):
    ended = record(project, "one", "running").end("interrupted", 130)
    assert runs.load(project.runs / "one") == ended
    assert (ended.status, ended.attempts[0].exit_code) == ("interrupted", 130)
    assert ended.attempts[0].ended >= ended.attempts[0].started


def test_a_clock_that_was_put_back_makes_no_time_negative_and_is_told(project, capsys):
    ahead = runs.now() + timedelta(days=365)
    run = record(project, "one", "running")
    run = msgspec.structs.replace(run, attempts=(msgspec.structs.replace(run.attempts[0], started=ahead),)).save()
    record(project, "another")
    assert summary(run).seconds == 0
    assert run.end("failed", 1).attempts[0].ended == ahead
    assert [each.id for each in runs.all_runs(project)] == ["another", "one"]
    assert "`one` began in the future" in capsys.readouterr().err


def test_a_running_run_whose_watcher_is_dead_has_failed(project):
    record(project, "one", "running", dead())
    record(project, "two", "running")
    assert [run.status for run in runs.all_runs(project)] == ["failed", "running"]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"id": 1}', b"\xff"])
def test_a_damaged_record_is_one_sentence(project, content):
    record(project, "one")
    (project.runs / "one" / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read `.*one/run.json`"):
        runs.load(project.runs / "one")


@pytest.mark.parametrize(
    ("statuses", "good", "newer"),
    [
        (["succeeded"], "0", None),
        (["succeeded", "succeeded"], "1", None),
        (["succeeded", "failed"], "0", "1"),
        (["succeeded", "failed", "interrupted"], "0", "2"),
        (["failed", "succeeded"], "1", None),
    ],
)
def test_the_last_is_the_last_that_succeeded(project, statuses, good, newer):
    for number, status in enumerate(statuses):
        record(project, str(number), status)
    found, failed = runs.last(project)
    assert (found.id, failed.id if failed else None) == (good, newer)


def test_without_a_good_run_the_message_says_what_there_is(project):
    with pytest.raises(InputError, match=r"no run has succeeded in `.*` yet; start one"):
        runs.last(project)
    record(project, "one", "failed")
    with pytest.raises(InputError, match="yet; `one` failed; start one with `ftbridge train`"):
        runs.last(project)


def test_a_run_is_found_by_its_id_or_the_closest_is_named(project):
    with pytest.raises(InputError, match="no run or folder `one`; no run was made yet"):
        runs.by_id(project, "one")
    run = record(project, "20260102-030405-xtuner-faq")
    assert runs.by_id(project, run.id) == run
    with pytest.raises(InputError, match=f"did you mean `{run.id}`"):
        runs.by_id(project, "20260102-030405-xtuner-fag")


def test_an_unfinished_folder_is_no_run(project):
    runs.new_folder(project, "xtuner-faq")
    assert runs.all_runs(project) == []


def test_times_are_whole_seconds_in_utc():
    assert runs.now().tzinfo is UTC
    assert msgspec.json.encode(runs.now()).endswith(b'Z"')
    assert runs.now().microsecond == 0


def test_a_damaged_record_is_named_and_the_others_are_listed(project, capsys):
    record(project, "one")
    record(project, "two")
    (project.runs / "one" / "run.json").write_bytes(b"{")
    assert [run.id for run in runs.all_runs(project)] == ["two"]
    assert "one/run.json`" in capsys.readouterr().err


def test_another_process_of_the_same_number_is_not_the_watcher(project):
    run = record(project, "one", "running").watched()
    assert runs.load(run.path) == run
    msgspec.structs.replace(run, pid_started=run.pid_started + 1).save()
    found = runs.load(run.path)
    assert (found.status, found.died) == ("failed", True)


# Marks the run as watched by itself, and ends it when it is asked; or does not.
WATCHER = """
import signal, sys, time
from pathlib import Path
from ftbridge.launchers.runs import load
run = load(Path(sys.argv[1])).watched()
def end(number, frame):
    if sys.argv[2] == "polite":
        run.end("interrupted", 130)
        sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.mark.slow
@pytest.mark.parametrize("manner", ["polite", "stubborn"])
def test_a_running_run_is_stopped(project, monkeypatch, manner):
    monkeypatch.setattr(runs, "PATIENCE", 0.5)
    run = record(project, "one", "running")
    argv = [sys.executable, "-c", WATCHER, str(run.path), manner]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout.readline()
        stopped = runs.stop(runs.load(run.path))
    assert (stopped.status, stopped.attempts[-1].exit_code) == ("interrupted", 130)
    assert runs.load(run.path) == stopped
    with pytest.raises(UsageError, match="`one` is not running: it has interrupted"):
        runs.stop(stopped)


def test_a_log_is_followed_until_the_run_ends(project):
    run = record(project, "one", "running")
    log = run.path / "log.txt"
    log.write_bytes(b"a\n\xff")
    pieces = runs.follow(run, wait=True)
    assert next(pieces) == b"a\n\xff"
    log.write_bytes(b"a\n\xffmore")
    run.end("succeeded", 0)
    assert b"".join(pieces) == b"more"
    assert b"".join(runs.follow(run, wait=False)) == b"a\n\xffmore"
    log.unlink()
    with pytest.raises(InputError, match="cannot read the log of `one`"):
        list(runs.follow(run, wait=False))
