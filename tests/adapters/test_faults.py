"""Conversions that are killed, or run out of disk: nothing half-written, and the next one succeeds."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.files.atomic import locked
from ftbridge.dataset_info.registry import FILE, converted_entries

COMMAND = [sys.executable, "-m", "ftbridge", "convert", "faq.jsonl", "--replace", "--split"]


@pytest.fixture
def source(folder):
    rows = ({"question": f"why {at}?", "answer": "because " * 40} for at in range(40_000))
    path = folder / "faq.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def whole():
    """Check that everything that is registered stands there as it was written; return the names."""
    entries = converted_entries(Path("data")) if Path("data").exists() else {}
    for entry in entries.values():
        for target, file in entry.files.items():
            assert digest(Path("data", file)) == entry.options.sha256[target]
    return list(entries)


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("times", [6, pytest.param(100, marks=pytest.mark.nightly)])
def test_conversion_killed_at_any_moment_leaves_a_whole_registry(source, times):
    start = time.perf_counter()
    subprocess.run([*COMMAND, "8:2"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    draw = random.Random(0)  # noqa: S311 - moments, no secrets
    found, workers = [], []
    for number in range(times):
        with subprocess.Popen([*COMMAND, f"{number % 7 + 2}:2"], stdout=subprocess.DEVNULL) as process:
            time.sleep(draw.uniform(0, seconds))
            workers += children_of(process.pid) if process.poll() is None else []
            process.kill()
        found.append(whole())
    assert set(map(tuple, found)) == {("faq-train", "faq-test")}
    end = time.monotonic() + 60
    while any(map(lives, workers)):
        assert time.monotonic() < end, "a killed conversion left processes behind"
        time.sleep(0.05)
    subprocess.run([*COMMAND, "1:1"], check=True, stdout=subprocess.DEVNULL)
    assert whole() == ["faq-train", "faq-test"]
    kept = {
        "dataset_info.json",
        *(f"faq-{part}.{kind}.jsonl" for part in ("train", "test") for kind in ("alpaca", "messages", "xtuner")),
    }
    assert {path.name for path in Path("data").iterdir() if not path.name.endswith(".lock")} == kept


def test_conversion_onto_a_full_disk_is_a_sentence_and_changes_nothing(source):
    convert(source, limit=10)
    before = whole()
    done = subprocess.run(
        [*COMMAND, "7:3"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert done.returncode == 4
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1
    assert whole() == before == ["faq-train"]
    assert not list(Path("data").glob("*.part"))


def test_conversion_that_cannot_be_remembered_is_registered_with_a_warning(source, capsys):
    Path(".ftbridge").write_text("in the way")
    assert convert(source, limit=10).changed
    assert "; `train` needs `--dataset faq-train`" in capsys.readouterr().err
    assert whole() == ["faq-train"]


def test_interrupted_conversion_is_quiet_and_changes_nothing(source):
    # Not by `python -m`, which ends by the signal itself where that came in an `exec`, as imports have some.
    command = [Path(sys.executable).with_name("ftbridge"), *COMMAND[3:], "7:3"]
    # While we hold the registry, however quick it is, it cannot end before it is interrupted.
    with (
        locked(Path("data", FILE)),
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process,
    ):
        while not list(Path().glob("data/.*.part")) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said.strip()) == (130, "stopped")
    assert not list(Path().glob("data/.*.part"))
    assert whole() == []
