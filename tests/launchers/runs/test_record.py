"""Runs: a folder each, a record that tells the truth, and the last one found."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files import signing
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.process.identity import Host, this_machine
from ftbridge.launchers.runs import record as runs
from ftbridge.launchers.runs.record import (
    _locks,
    _signed_part,
    all_runs,
    check_name,
    find_run,
    follow_log,
    free_name,
    load_run,
    make_run_folder,
    mark_failed,
    match_run,
    new_run_folder,
    short_ids,
    stop_run,
    utc_now,
)
from ftbridge.launchers.runs.summary import summarise_run

from ...builders.checkpoints import LORA, xtuner  # noqa: TID252
from ...builders.runs import record_run  # noqa: TID252


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, Settings())


def record(project, name, status="succeeded", pid=None):
    """Save and return a run called `name`."""
    return record_run(project, name, status, pid=pid, gpus="all", set={"a": "1"})


def dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_run_folders_of_the_same_second_get_different_names(project):
    with ThreadPoolExecutor(8) as pool:
        wanted = new_run_folder(project, "xtuner-faq")
        folders = list(pool.map(lambda _: make_run_folder(wanted), range(24)))
    assert wanted in folders
    assert len(set(folders)) == 24
    assert all(folder.is_dir() and folder.parent == project.runs for folder in folders)
    assert all("-xtuner-faq" in folder.name for folder in folders)


def test_a_record_reads_back_as_it_was(project):
    run = record(project, "one")
    assert load_run(project.runs / "one") == run
    assert run.path == project.runs / "one"
    assert (run.path / "run.json").read_bytes().endswith(b"\n")


def test_a_run_that_was_moved_knows_its_new_place(project, tmp_path):
    record(project, "one").path.rename(tmp_path / "moved")
    assert load_run(tmp_path / "moved").path == tmp_path / "moved"


def test_end_of_a_run_is_kept_in_its_record(project):
    ended = record(project, "one", "running").end("interrupted", 130)
    assert load_run(project.runs / "one") == ended
    assert (ended.status, ended.attempts[0].exit_code) == ("interrupted", 130)
    assert ended.attempts[0].ended >= ended.attempts[0].started


def test_a_clock_that_was_put_back_makes_no_time_negative_and_is_told(project, capsys):
    ahead = utc_now() + timedelta(days=365)
    run = record(project, "one", "running")
    run = msgspec.structs.replace(run, attempts=(msgspec.structs.replace(run.attempts[0], started=ahead),)).save()
    record(project, "another")
    assert summarise_run(run).seconds == 0
    assert run.end("failed", 1).attempts[0].ended == ahead
    assert [each.id for each in all_runs(project)] == ["another", "one"]
    assert "`one` began in the future" in capsys.readouterr().err


def test_a_running_run_whose_watcher_is_dead_has_failed(project):
    record(project, "one", "running", dead())
    record(project, "two", "running")
    assert [run.status for run in all_runs(project)] == ["failed", "running"]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"id": 1}', b"\xff"])
def test_a_damaged_record_is_one_sentence(project, content):
    record(project, "one")
    (project.runs / "one" / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read `.*one/run.json`"):
        load_run(project.runs / "one")


def test_a_run_is_found_by_its_id_or_the_closest_is_named(project):
    with pytest.raises(InputError, match="no run or folder `one`; no run was made yet"):
        find_run(project, "one")
    run = record(project, "20260102-030405-xtuner-faq")
    assert find_run(project, run.id) == run
    with pytest.raises(InputError, match=f"did you mean `{run.id}`"):
        find_run(project, "20260102-030405-xtuner-fag")


def test_a_beginning_of_one_id_alone_means_that_run_and_of_several_names_them(project):
    one, two, other = (record(project, f"2026010{name}") for name in ("2-xtuner-faq", "2-xtuner-faq-2", "3-xtuner-faq"))
    assert match_run(project, "20260103") == other
    assert match_run(project, one.id) == one  # which is a beginning of another's, too
    assert match_run(project, f"{one.id}-") == two
    with pytest.raises(InputError, match=f"`20260102` may mean several runs: `{two.id}`, `{one.id}`; type more"):
        match_run(project, "20260102")
    for typed in ("", "2025", "faq", "?"):
        with pytest.raises(InputError, match="no run or folder"):
            match_run(project, typed)
    with pytest.raises(InputError, match="no run or folder `20260103`"):  # what is on record is whole
        find_run(project, "20260103")


def test_a_beginning_of_the_time_means_the_run_of_one_day_alone(project):
    one, _, other = (record(project, f"2026010{time}-faq") for time in ("2-091500", "2-101500", "3-101500"))
    assert match_run(project, "0915") == match_run(project, "091500-faq") == one
    with pytest.raises(InputError, match="`1015` may mean several runs"):
        match_run(project, "1015")
    assert match_run(project, "20260103-1015") == other


def test_last_is_the_newest_and_a_number_counts_back(project):
    for text in ("last", "last~1"):
        with pytest.raises(InputError, match=r"there is no run in .* yet"):
            match_run(project, text)
    one, two = record(project, "1"), record(project, "22", "failed")
    assert [match_run(project, typed) for typed in ("last", "last~0", "last~1")] == [two, two, one]
    with pytest.raises(InputError, match=r"no run `last~2`: `.*/runs` has 2 runs"):
        match_run(project, "last~2")


def test_a_run_is_found_by_its_name_in_either_form_of_unicode(project):
    run = msgspec.structs.replace(record(project, "20260102-030405-faq"), name="客服-é").save()
    assert match_run(project, "客服-é").id == match_run(project, "客服-e\u0301").id == run.id
    with pytest.raises(InputError, match="did you mean `客服-é`"):
        match_run(project, "客服é")
    record(project, "20260103-030405-faq")
    with pytest.raises(InputError, match=r"20260103-030405-faq`, `20260102-030405-faq` \(客服-é\); type more"):
        match_run(project, "2026")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "a name has letters"),
        ("a b", "a name has letters"),
        ("-a", "a name has letters"),
        ("a/b", "a name has letters"),
        ("a~1", "a name has letters"),
        ("x" * 41, "at most 40"),
        ("last", "is reserved"),
        ("Best", "is reserved"),
        ("2027", "looks like the id"),
        ("0304-05", "looks like the id"),
        ("20270101-000000-mine", "looks like the id"),
        ("客服", "already refers to the run `20260102-030405-faq`"),
        ("on", "already refers to the run `one`"),
    ],
)
def test_a_name_that_could_mean_something_else_is_refused(project, name, why):
    msgspec.structs.replace(record(project, "20260102-030405-faq"), name="客服").save()
    record(project, "one")
    with pytest.raises(UsageError, match=why):
        check_name(project, name)


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_name_is_used_again_after_a_run_that_left_no_checkpoint(project, status):
    first = msgspec.structs.replace(record(project, "20260102-030405-faq", status), name="客服").save()
    assert check_name(project, "客服") == "客服"
    free_name(project, "客服")
    assert load_run(first.path).name == ""
    second = msgspec.structs.replace(record(project, "20260103-030405-faq", status), name="客服").save()
    assert match_run(project, "客服").id == second.id
    (second.path / "output").mkdir()
    xtuner(second.path / "output" / "iter_4.pth", LORA)
    free_name(project, "客服")
    assert load_run(second.path).name == "客服"
    with pytest.raises(UsageError, match=r"`20260103-030405-faq`; choose another name.*runs prune"):
        check_name(project, "客服")


@pytest.mark.parametrize("name", ["客服-v2", "r8_alpha16", "é", "7b", "x" * 40])
def test_a_name_of_letters_and_digits_is_taken(project, name):
    record(project, "20260102-030405-faq")
    assert check_name(project, name) == name


def test_ids_are_shortened_to_what_no_other_begins_with():
    ids = ["20260102-030405-xtuner-faq", "20260102-030406-a-faq", "20260102-030406-a-faq-2", "odd"]
    assert list(short_ids(ids).values()) == [
        "20260102-030405",
        "20260102-030406-a-faq",
        "20260102-030406-a-faq-",
        "odd",
    ]


def test_run_folder_without_a_record_is_no_run(project):
    make_run_folder(new_run_folder(project, "xtuner-faq"))
    assert all_runs(project) == []


def test_time_of_a_record_is_in_whole_seconds_of_utc():
    assert utc_now().tzinfo is UTC
    assert msgspec.json.encode(utc_now()).endswith(b'Z"')
    assert utc_now().microsecond == 0


def test_a_damaged_record_is_named_and_the_others_are_listed(project, capsys):
    record(project, "one")
    record(project, "two")
    (project.runs / "one" / "run.json").write_bytes(b"{")
    assert [run.id for run in all_runs(project)] == ["two"]
    assert "one/run.json`" in capsys.readouterr().err


def test_process_with_a_reused_pid_is_not_taken_for_the_watcher(project):
    run = record(project, "one", "running").watched()
    assert load_run(run.path) == run
    run.release()
    msgspec.structs.replace(run, pid_started=run.pid_started + 1).save()
    found = load_run(run.path)
    assert (found.status, found.died) == ("failed", True)


@pytest.mark.parametrize("changes", [{"pid_started": 1}, {"pid": 1}])
@pytest.mark.parametrize("container", [this_machine().container, "pid:[1]"])
def test_watcher_is_known_to_live_by_its_lock_alone(project, changes, container):
    run = record(project, "one", "running").watched()
    assert run.watched() == run  # a second time changes nothing
    machine = msgspec.structs.replace(this_machine(), name="renamed", container=container)
    msgspec.structs.replace(run, machine=machine, **changes).save()
    assert load_run(run.path).status == "running"
    with pytest.raises(UsageError, match="`--mark-failed` out"):
        mark_failed(load_run(run.path))
    os.close(_locks.pop(run.folder))  # as the kernel does with the process's end, in another container as well
    assert load_run(run.path).status == "failed"


def test_run_whose_watcher_lives_is_running_before_and_after_its_lock(project):
    run = record(project, "one", "running").watched()
    (run.path / runs.RESERVE).touch()  # as between the making of the file and its lock
    os.close(_locks.pop(run.folder))  # as between the opening of the file by a reader and its removal
    assert load_run(run.path).status == "running"


def test_run_that_ends_while_it_is_looked_at_has_ended(project, monkeypatch):
    run = record(project, "one", "running", dead())

    def is_locked(_file):
        run.end("interrupted", 130)
        return False

    monkeypatch.setattr(runs, "is_locked", is_locked)
    assert load_run(run.path).status == "interrupted"


def test_process_is_signalled_only_by_a_signed_record_of_this_container(project):
    run = record(project, "one", "running").watched()
    elsewhere = msgspec.structs.replace(this_machine(), container="pid:[1]")
    for changes, doubt in (
        ({"machine": elsewhere}, "in another container"),
        ({"pid": 1}, "the first process of its container"),
        ({"pid": -1}, "does not name the process"),
        ({"pid_started": 0}, "does not name the process"),
    ):
        msgspec.structs.replace(run, **changes).save()
        with pytest.raises(UsageError, match=f"runs, and .*{doubt}"):
            stop_run(load_run(run.path))
    with pytest.raises(UsageError, match=f"not signed by this machine.*`kill {run.pid}`"):
        stop_run(changed(run.save(), samples=22))
    run.release()


# Marks the run as watched by itself, and ends it when it is asked; or does not.
WATCHER = """
import signal, sys, time
from pathlib import Path
from ftbridge.launchers.runs.record import load_run
run = load_run(Path(sys.argv[1])).watched()
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
    monkeypatch.setattr(runs, "STOP_SECONDS", 0.5)
    run = record(project, "one", "running")
    argv = [sys.executable, "-c", WATCHER, str(run.path), manner]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout.readline()
        stopped = stop_run(load_run(run.path))
    assert (stopped.status, stopped.attempts[-1].exit_code) == ("interrupted", 130)
    assert load_run(run.path) == stopped
    with pytest.raises(UsageError, match="`one` is not running, its status is interrupted; `ftbridge runs list`"):
        stop_run(stopped)


def test_a_log_is_followed_until_the_run_ends(project):
    run = record(project, "one", "running")
    log = run.path / "log.txt"
    log.write_bytes(b"a\n\xff")
    pieces = follow_log(run, wait=True)
    assert next(pieces) == b"a\n\xff"
    log.write_bytes(b"a\n\xffmore")
    run.end("succeeded", 0)
    assert b"".join(pieces) == b"more"
    assert b"".join(follow_log(run, wait=False)) == b"a\n\xffmore"
    log.unlink()
    with pytest.raises(InputError, match="cannot read the log of `one`"):
        list(follow_log(run, wait=False))


def changed(run, **values):
    """Write other values into a run's record, as somebody does who has no key, and return it as it is read."""
    file = run.path / "run.json"
    file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | values))
    return load_run(run.path)


def test_a_record_is_signed_but_for_its_place(project, tmp_path):
    run = record(project, "one", "failed")
    assert len(run.signature) == 64
    assert changed(run).signature == run.signature  # written otherwise, it says the same
    run.path.rename(tmp_path / "moved")
    assert load_run(tmp_path / "moved").signature == run.signature


@pytest.mark.parametrize(
    "values",
    [
        {"status": "interrupted"},
        {"checkpoints": {"output/iter_9.pth": "ab" * 32}},
        {"model": "/other"},
        {"pid": 1},
        {"signature": ""},
        {"signature": None},
        {"signature": "ab" * 32},
        {"signature": "ü"},
        {"of_a_later_ftbridge": 1},
        {"of_a_later_ftbridge": 10**30},
    ],
)
def test_a_record_that_somebody_else_changed_is_not_signed(project, values):
    assert changed(record(project, "one", "failed"), **values).signature is None


def test_a_record_of_another_machine_is_not_signed(project, tmp_path, monkeypatch):
    run = record(project, "one", "failed")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    assert load_run(run.path).signature is None
    assert record(project, "two").signature


def test_a_record_of_a_later_ftbridge_keeps_its_signature(project):
    run = record(project, "one", "failed")
    content = msgspec.json.decode((run.path / "run.json").read_bytes()) | {"more": {"b": 1, "a": 2}}
    signature = signing.sign(_signed_part(msgspec.json.encode(content)))
    assert changed(run, more={"a": 2, "b": 1}, signature=signature).signature == signature


def test_unsigned_record_stays_unsigned_when_it_is_written(project):
    foreign = changed(record(project, "one", "running"), pid=dead())
    assert (foreign.status, foreign.signature) == ("failed", None)
    assert foreign.end("interrupted", 130).signature is None
    assert foreign.watched().signature is None
    assert load_run(foreign.path).signature is None


def test_run_without_a_signing_key_goes_on_unsigned(project, tmp_path, monkeypatch, capsys):
    signing._warn_once.cache_clear()
    (tmp_path / "full").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "full"))
    run = record(project, "one", "running").watched().end("succeeded", 0)
    assert run.signature == ""
    assert load_run(run.path).signature is None
    assert capsys.readouterr().err.count("warning: ") == 1
    monkeypatch.delenv("XDG_DATA_HOME")
    assert run.save().signature  # it is ours all the same


def sleeper():
    """Return a process that does nothing until it is sent a signal."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])


REBOOTED = Host(
    f"{socket.gethostname()} {Path('/etc/machine-id').read_text().strip()}",
    "an earlier start",
    this_machine().container,
)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "running"),
        ({"pid_started": 1}, "failed"),
        # Nothing says which process was meant.
        ({"pid_started": 0}, "unknown"),
        ({"pid_started": -1}, "unknown"),
        *(({"pid": pid}, "unknown") for pid in (-1, 0, 1, -(2**31), 99999999999, 10**30)),
        # Elsewhere: not named, another machine, another container on this one.
        ({"machine": Host()}, "unknown"),
        ({"machine": Host("else 1234", "a", "pid:[1]")}, "unknown"),
        ({"machine": msgspec.structs.replace(this_machine(), container="pid:[1]")}, "unknown"),
        ({"machine": REBOOTED}, "failed"),
        ({"machine": msgspec.structs.replace(REBOOTED, container="pid:[1]")}, "unknown"),
        ({"machine": msgspec.structs.replace(REBOOTED, name=socket.gethostname())}, "unknown"),
        ({"machine": msgspec.structs.replace(REBOOTED, boot="")}, "unknown"),
    ],
)
def test_only_the_process_that_began_a_run_is_taken_for_it_and_stopped(project, monkeypatch, changes, status):
    monkeypatch.setattr(runs, "FIRST_CONTAINER", this_machine().container)
    with sleeper() as other:
        run = msgspec.structs.replace(record(project, "one", "running", other.pid), **changes).save()
        found = load_run(run.path)
        assert found.status == status
        if status != "running":
            with pytest.raises(
                UsageError, match="not known here whether" if status == "unknown" else "its status is failed"
            ):
                stop_run(found)
            assert other.poll() is None
            other.kill()
            return
        assert stop_run(found).status == "interrupted"
        assert other.wait(timeout=60) == -signal.SIGTERM


def test_process_with_a_reused_pid_is_not_stopped(project):
    with sleeper() as other:
        run = record(project, "one", "running", other.pid)
        ended = msgspec.structs.replace(run, pid_started=run.pid_started + 1)  # what was loaded is of before
        assert stop_run(ended).status == "running"
        assert other.poll() is None
        other.kill()


def test_a_run_of_elsewhere_is_given_up_when_its_user_says_so(project):
    run = msgspec.structs.replace(record(project, "one", "running"), machine=Host("else 1234", "a", "b")).save()
    with pytest.raises(UsageError, match=r"on `else`.*--mark-failed"):
        stop_run(load_run(run.path))
    given_up = mark_failed(load_run(run.path))
    assert (given_up.status, given_up.died) == ("failed", False)
    assert load_run(run.path) == given_up
    with pytest.raises(UsageError, match="has the status failed"):
        mark_failed(given_up)
    assert b"".join(follow_log(run_with_log(run), wait=True)) == b"a"


def run_with_log(run):
    """Return `run`, saved again as it was, with a log."""
    (run.path / "log.txt").write_bytes(b"a")
    return run.save()


@pytest.mark.parametrize(
    "changes",
    [
        {"attempts": []},
        {"attempts": [{"started": "0001-01-01T00:00:00Z"}]},
        {"attempts": [{"started": "9999-12-31T23:59:59Z"}]},
        {"attempts": [{"started": "2026-01-02T00:00:00"}]},
        {"attempts": [{"started": "2026-01-02T00:00:00Z", "exit_code": 10**30}]},
        {"attempts": None},
        {"steps": -1},
        {"samples": 10**30},
        {"pid": 1.5},
        {"pid": "7"},
        {"machine": []},
        {"spec": {"backend": "none", "model": "base", "dataset": "faq"}},
        {"status": "unheard of"},
        {"launch": None},
    ],
)
def test_a_record_with_a_wrong_value_is_left_out(project, changes, capsys):
    record(project, "good")
    file = record(project, "bad").path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert [run.id for run in all_runs(project)] == ["good"]
    assert "bad/run.json`" in capsys.readouterr().err


def deep(file):
    file.write_text('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}")


def endless(file):
    with file.open("wb") as opened:
        opened.truncate(2 << 30)


@pytest.mark.parametrize("make", [deep, endless, os.mkfifo, Path.mkdir, lambda file: file.symlink_to("/dev/zero")])
def test_pipe_device_or_endless_file_as_record_is_left_out_without_waiting(project, make, capsys):
    record(project, "good")
    file = record(project, "bad").path / "run.json"
    file.unlink()
    make(file)
    assert [run.id for run in all_runs(project)] == ["good"]
    assert "bad/run.json`" in capsys.readouterr().err
    with pytest.raises(InputError):
        find_run(project, "bad")


def test_a_log_that_is_a_pipe_is_not_waited_for(project):
    run = record(project, "one")
    os.mkfifo(run.path / "log.txt")
    with pytest.raises(InputError, match=r"cannot read the log of `one`: .*not a regular file"):
        list(follow_log(run, wait=True))


def test_a_run_of_before_tokens_were_made_once_counts_as_native(project):
    made = record(project, "old")
    file = made.path / "run.json"
    raw = json.loads(file.read_text())
    del raw["spec"]["tokens"]
    raw["spec"]["template"] = "qwen2.5"
    file.write_bytes(signed := json.dumps(raw).encode())
    raw["signature"] = signing.sign(_signed_part(signed))
    file.write_text(json.dumps(raw))
    run = load_run(made.path)
    assert (run.spec.tokens, run.spec.template, run.chat_template) == ("native", "qwen2.5", None)
    assert run.signature == raw["signature"]
    assert [each.id for each in all_runs(project)] == ["old"]
    assert load_run(run.save().path).spec == run.spec


@pytest.mark.parametrize("spec", [None, [], "once", {"tokens": "twice"}, {"tokens": None}])
def test_a_record_of_other_tokens_is_refused(project, spec):
    made = record(project, "odd")
    raw = json.loads((made.path / "run.json").read_text())
    raw["spec"] = raw["spec"] | spec if isinstance(spec, dict) else spec
    (made.path / "run.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="cannot read `"):
        load_run(made.path)
