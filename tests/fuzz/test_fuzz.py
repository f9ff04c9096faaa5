"""Changed files of every kind that is read: a command says in a sentence what is wrong, within its limits.

`make fuzz` goes on for an hour, and `make nightly` through 2,000 changes of each. What fails is kept under build/fuzz.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import forks
from .mutations import mutated
from .readers import READERS
from .seeds import make

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "fuzz"
SEED = os.environ.get("FUZZ_SEED") or "0"  # of what `make quick` tries; the longer ones take another each time
SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)
# Without a framework these come no further: nothing can be merged or answered, and no module imported.
ENDS = {"merge": {5}, "chat": {5}, "train": {0, 2, 3}, "preview": {4}}
TOO_MUCH = re.compile(r"Traceback \(most recent|Exception ignored|This is a fault in ftbridge|RuntimeWarning")


class Fuzzer:
    """Runs commands on changed files, each in a fresh copy of a project."""

    def __init__(self, box):
        self.box, self.original = box, make(box)
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_TOKEN")}
        homes = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME")
        env |= dict.fromkeys(homes, str(box / "home"))
        env |= {"TMPDIR": str(box / "tmp"), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "80"}
        for name in ("home", "tmp"):
            (box / name).mkdir()
        self.server = subprocess.Popen(
            [sys.executable, forks.__file__], env=env, cwd=box, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.command(["convert", "sources/faq.csv", "--name", "faq"], self.original)["code"] == 0, self.output()
        other = json.loads((self.original / "data" / "dataset_info.json").read_text())
        other |= {"other": {"file_name": "other.jsonl", "columns": {"prompt": "question", "response": "answer"}}}
        (self.original / "data" / "dataset_info.json").write_text(json.dumps(other))
        shutil.copy(self.original / "sources" / "faq.jsonl", self.original / "data" / "other.jsonl")
        self.outside = self.around()

    def close(self):
        with self.server:
            self.server.stdin.close()

    def command(self, arguments, folder):
        """Return how a command ended."""
        request = {"arguments": arguments, "folder": str(folder), "output": str(self.box / "output")}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def output(self):
        """Return what the last command printed."""
        return (self.box / "output").read_text(errors="replace")

    def around(self):
        """Return what stands beside the copies of the project, and must stay as it is."""
        folders = (self.box, self.box / "outside", self.box / "environment" / "bin", self.original)
        return {
            file.path: (file.stat().st_mtime_ns, file.stat().st_size)
            for folder in folders
            for file in os.scandir(folder)
            if file.name not in ("home", "tmp", "output", "copy")
        }

    def once(self, name, number, reader):
        """Change a file of a reader in the way of this `number`; returns what is wrong with what a command did."""
        chosen = random.Random(f"{SEED} {name} {number}")  # noqa: S311 - no secret
        known = (self.original / reader.file).read_bytes()
        content = mutated(chosen, known, self.another(chosen, reader), reader.kind)
        arguments = chosen.choice(reader.commands)
        done = self.in_copy(reader, content, arguments)
        wrong = self.judged(done)
        return wrong and f"{wrong}: {self.keep(name, number, reader, content, arguments, done)}"

    def another(self, chosen, reader):
        """Return the content of another file of the same kind, or of this one, to splice with."""
        alike = [each.file for each in READERS.values() if each.kind == reader.kind]
        return (self.original / chosen.choice(alike)).read_bytes()

    def in_copy(self, reader, content, arguments):
        """Return how a command ended in a copy of the project, in which the file of a reader has this content."""
        copy = self.box / "copy" / "project"
        shutil.copytree(self.original, copy)
        try:
            (copy / reader.file).write_bytes(content)
            return self.command(arguments, copy)
        finally:
            shutil.rmtree(self.box / "copy")
            for left in (self.box / "tmp").iterdir():
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()

    def judged(self, done):
        if done["broken"]:
            return f"it needed {done['broken']}"
        if done["code"] < 0 or done["code"] not in {0, 2, 3, 4, 5}:
            return f"it ended with {done['code']}"
        if found := TOO_MUCH.search(self.output()):
            return f"it printed `{found[0]}`"
        if self.around() != self.outside:
            return "it wrote outside of the project"
        return ""

    def keep(self, name, number, reader, content, arguments, done):
        """Keep what failed, with all that repeats it; returns where."""
        folder = KEPT / f"{SEED}-{name.replace(' ', '-')}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.original, folder / "project")
        (folder / "project" / reader.file).write_bytes(content)
        (folder / "output.txt").write_text(self.output())
        told = {"arguments": arguments, "file": reader.file, **done}
        (folder / "command.json").write_text(json.dumps(told, indent=1))
        return folder


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    made = Fuzzer(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


def through(fuzzer, name, numbers):
    """Return what went wrong in the changes of these `numbers`."""
    reader = READERS[name]
    found = []
    for number in numbers:
        if wrong := fuzzer.once(name, number, reader):
            found.append(wrong)
            print(wrong, flush=True)  # noqa: T201 - seen at once with `pytest -s`
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_an_unchanged_file_is_read(fuzzer, name):
    """What is changed in it matters: each command gets as far as it does without a framework."""
    reader = READERS[name]
    for arguments in reader.commands:
        done = fuzzer.in_copy(reader, (fuzzer.original / reader.file).read_bytes(), arguments)
        assert not fuzzer.judged(done), (arguments, done, fuzzer.output())
        assert done["code"] in ENDS.get(arguments[0], {0}), (arguments, fuzzer.output())


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_changed_file_of_each_kind_gives_no_traceback(fuzzer, name):
    wrong = through(fuzzer, name, range(1))
    assert not wrong, f"FUZZ_SEED={SEED}\n" + "\n".join(wrong)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", READERS)
def test_two_thousand_changes_of_each_file_give_no_traceback(fuzzer, name):
    wrong = through(fuzzer, name, range(2000))
    assert not wrong, f"FUZZ_SEED={SEED}\n" + "\n".join(wrong)


@pytest.mark.skipif(not SECONDS, reason="FUZZ_SECONDS says for how long")
@pytest.mark.timeout(0)
def test_as_long_as_there_is_time(fuzzer):
    end, number, wrong = time.monotonic() + SECONDS, 0, []
    while time.monotonic() < end:
        for name in READERS:
            wrong += through(fuzzer, name, [number])
        number += 1
    print(f"FUZZ_SEED={SEED}: {number} changes of each of {len(READERS)} files")  # noqa: T201
    assert not wrong, "\n".join(wrong)
