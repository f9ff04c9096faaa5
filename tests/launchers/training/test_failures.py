"""Why a training failed: the known lines, the last traceback, and real failures of the frameworks' packages."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from ftbridge.cli import COMMANDS
from ftbridge.cli.train import command
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.process.script import CHILD_ENV
from ftbridge.launchers.training.failures import (
    READ_BYTES,
    SEARCHED_CHARACTERS,
    explain_failure,
    failure_reason,
    last_lines,
    last_traceback,
    signatures,
)

NAMES = [signature.name for signature in signatures()]
# Options of `ftbridge train` that remedies name and that are still to come.
BOOM = """\
Traceback (most recent call last):
  File "train.py", line 7, in <module>
    main()
  File "train.py", line 3, in main
    raise ValueError("what went wrong")
ValueError: what went wrong
"""
SUMMARY = """\
Traceback (most recent call last):
  File "run.py", line 901, in main
    elastic_launch(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
  exitcode  : 1 (pid: 7)
"""


@pytest.fixture
def log(tmp_path):
    """Return a function that writes a log and returns its path."""

    def write(text):
        file = tmp_path / "log.txt"
        file.write_bytes(text.encode())
        return file

    return write


def test_reason_is_the_known_cause_or_the_last_line_of_the_error(log):
    known = next(each for each in signatures() if each.name == "disk-full")
    assert failure_reason(log(known.sample), 1) == known.cause
    assert failure_reason(log(BOOM), 1) == "ValueError: what went wrong"
    assert failure_reason(log("before\n" + "the last line \n"), 1) == "the last line"
    assert failure_reason(log(""), 1) == ""


def test_every_failure_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(NAMES) >= 25


@pytest.mark.parametrize("signature", signatures(), ids=NAMES)
def test_failure_sample_is_told_by_its_own_signature(log, signature):
    for form in ("{}\n", "[rank1]: {}\n", " 50%|#### | 3/6\r{}\nmore\n", "\x1b[31m{}\x1b[0m"):
        failure = explain_failure(log("INFO start\n" + form.format(signature.sample)), 1)
        assert failure
        assert failure.name == signature.name
        assert failure.line in signature.sample


def test_cause_and_remedy_are_a_sentence_each():
    for signature in signatures():
        for text in (signature.cause, signature.remedy):
            assert "\n" not in text
            assert not text.endswith(".")


def test_options_named_in_remedies_exist():
    remedies = " ".join(signature.remedy for signature in signatures())
    options = {option for param in command.params for option in param.opts}
    assert set(re.findall(r"`(?:ftbridge train )?(--[a-z-]+)", remedies)) <= options
    assert set(re.findall(r"`ftbridge ([a-z]+)", remedies)) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("code", "name"),
    [(-9, "killed"), (137, "killed"), (-15, "ended-by-signal"), (-11, "crash"), (139, "crash"), (1, None), (0, None)],
)
def test_failure_without_a_message_is_told_by_exit_status(log, code, name):
    failure = explain_failure(log("step 1\n"), code)
    assert (failure.name if failure else None) == name


def test_first_cause_in_a_log_is_told_before_its_consequences(log):
    lines = [
        "RuntimeError: [pair.cc:544] Connection closed by peer [127.0.0.1]:32898",
        "RuntimeError: CUDA out of memory. Tried to allocate 1.00 GiB. The first.",
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB. The second.",
        "failed (exitcode: -9) local_rank: 0",
    ]
    failure = explain_failure(log("\n".join(lines)), -9)
    assert (failure.name, failure.line) == ("gpu-memory", lines[1])


def test_failure_of_an_earlier_attempt_does_not_count(log):
    before = "OSError: [Errno 28] No space left on device\n"
    file = log(before + "step 2\n" + BOOM)
    assert explain_failure(file, 1).name == "disk-full"
    assert explain_failure(file, 1, start=len(before)) is None
    assert last_traceback(file, start=len(before + BOOM)) == ""


def test_source_code_quoted_in_a_traceback_is_not_taken_for_a_message(log):
    text = BOOM.replace("raise ValueError(", 'raise OSError(f"CUDA out of memory. Tried to allocate {n}", ')
    assert explain_failure(log(text), 1) is None


@pytest.mark.slow
def test_long_log_is_read_at_its_end_and_long_lines_are_cut(log):
    full = "OSError: [Errno 28] No space left on device\n"
    assert explain_failure(log(full + ("x" * 99 + "\n") * (READ_BYTES // 100 + 1)), 1) is None
    assert explain_failure(log("x" * SEARCHED_CHARACTERS + full), 1) is None
    assert len(explain_failure(log("OSError: [Errno 13] PermissionError: [Errno 13] " + "x" * 9999), 1).line) == 300
    assert explain_failure(log("PermissionError: [Errno 13] \x1b]0;title\x07\x00\x9b"), 1).line.isprintable()


def test_the_last_traceback_is_whole_and_of_one_process(log):
    first, second = (BOOM.replace("what", word) for word in ("one", "two"))
    mixed = "".join(
        f"[rank{rank}]: {line}\n"
        for pair in zip(first.splitlines(), second.splitlines(), strict=True)
        for rank, line in enumerate(pair)
    )
    assert last_traceback(log(mixed + SUMMARY)) == second.strip()
    assert last_traceback(log(BOOM + second + "step 1\n" + "\n".join(first.splitlines()[:3]))) == second.strip()
    assert last_traceback(log("step 1\n")) == ""


def test_torchrun_summary_counts_as_traceback_where_it_is_alone(log):
    assert "ChildFailedError" in last_traceback(log(SUMMARY))


def test_a_deep_traceback_is_cut_at_its_start(log):
    deep = BOOM.replace("    main()\n", "    main()\n" + '  File "deep.py", line 1, in deeper\n    deeper()\n' * 50)
    shown = last_traceback(log(deep)).splitlines()
    assert len(shown) == 40
    assert shown[-1] == "ValueError: what went wrong"


def test_unknown_failure_shows_the_last_twenty_lines(log):
    assert last_lines(log("".join(f"{number}\n" for number in range(50)))).split() == [str(n) for n in range(30, 50)]
    assert last_lines(log("")) == ""


@pytest.mark.framework
@pytest.mark.parametrize("signature", [each for each in signatures() if each.text], ids=lambda each: each.name)
def test_failure_message_is_found_in_the_source_of_its_package(training_python, signature):
    place = default_folder(signature.environment) if signature.environment else training_python.parents[1]
    if not place.exists():
        pytest.skip(f"only {signature.environment} writes this, which is not there")
    packages = next((place / "lib").glob("python3*/site-packages"))
    assert signature.text.encode() in (packages / signature.source).read_bytes()


@pytest.fixture(scope="session")
def provoked(training_python, tmp_path_factory):
    """Return the tracebacks of failures provoked in the training environment, by name."""
    script = Path(__file__).with_name("provoke_failures.py")
    folder = tmp_path_factory.mktemp("provoked")
    argv = [training_python, script, folder / "found.json"]
    env = {**os.environ, **CHILD_ENV}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.framework
@pytest.mark.parametrize(
    "name",
    [
        "attention-unsupported",
        "checkpoint-pickle",
        "dataset-empty",
        "dataset-json",
        "dataset-types",
        "dataset-undefined",
        "deepspeed-batch",
        "disk-full",
        "flash-attention-missing",
        "host-memory",
        "lora-targets",
        "model-unknown",
        "no-gradient",
        "option-unknown",
        "package-wrong",
        "port-in-use",
        "quantised-full",
        "remote-code",
        "resume-optimizer",
        "shapes",
        "template-unknown",
        "tokenizer-damaged",
        "vocabulary",
        "warmup-too-short",
        "weights-damaged",
        "weights-missing",
        "weights-shape",
    ],
)
def test_real_failure_is_told_by_its_signature(provoked, log, name):
    assert provoked[name]
    for text in provoked[name]:
        failure = explain_failure(log(text), 1)
        assert failure, text
        assert failure.name == name, text
        assert last_traceback(log(text)).splitlines()[-1][:40] in text


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_a_run_that_succeeded_holds_no_failure(trained, backend):
    assert explain_failure(trained(backend=backend).path / "log.txt", 0) is None
