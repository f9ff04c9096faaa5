"""Failures: one message and an honest exit code, or a report to paste."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import ftbridge
from ftbridge import __version__, cli
from ftbridge.cli.failure import report
from ftbridge.core.console import result
from ftbridge.core.errors import FrameworkError, InputError, InterruptedRun, QuestionError, SetupError, UsageError

from ..builders.environments import make_model  # noqa: TID252
from ..builders.keyboard import terminal  # noqa: TID252

ASK = """
import click
from ftbridge import cli
from ftbridge.core.errors import QuestionError

@click.command()
@click.argument("file")
@click.option("--colour")
def command(file, colour):
    if not colour:
        raise QuestionError("what is in it?", {"the sea": ["--colour", "deep blue"], "grass": ["--colour", "green"]})
    click.echo(f"{file} is {colour}")

cli.cli = command
cli.main()
"""


@pytest.fixture
def end(monkeypatch, capsys):
    """Return a function that runs a command that raises; it returns the exit code and what stderr says."""

    def run(error):
        @click.command("boom")
        def command():
            raise error

        monkeypatch.setattr(cli, "cli", command)
        monkeypatch.setattr("sys.argv", ["ftbridge"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError, 2), (InputError, 3), (SetupError, 4), (FrameworkError, 5)],
)
def test_error_of_ours_is_one_message_with_its_exit_code(end, error, code):
    title = "" if error is InterruptedRun else "error: "  # whoever interrupts makes no error
    assert end(error("what `药` is, and what to do")) == (code, f"{title}what `药` is, and what to do\n")


def test_what_the_user_stopped_is_no_error(end):
    assert end(InterruptedRun("stopped at step 4")) == (130, "stopped at step 4\n")


@pytest.mark.parametrize(
    ("path", "why"), [("a\0b", "the character NUL"), ("a" * 5000, "`a{80}` is not a valid path: File name")]
)
def test_impossible_path_is_one_message(end, path, why):
    with pytest.raises((OSError, ValueError)) as caught:
        Path(path).stat()
    code, said = end(caught.value)
    assert code == 3
    assert re.fullmatch(f"error: .*{why}.*; check the files that this command reads\n", said)


def test_unexpected_value_or_os_error_is_a_fault(end):
    assert end(ValueError("x"))[0] == end(OSError(errno.EIO, "x", "y"))[0] == 70


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_exits_without_a_fault_report(end, error):
    code, said = end(error)
    assert (code, said.strip()) == (130, "stopped")


def test_wrong_usage_shows_how_to_use_it(end):
    code, said = end(click.UsageError("not so"))
    assert code == 2
    assert "not so" in said


def test_a_fault_of_ours_is_a_report_to_paste(end):
    code, said = end(ZeroDivisionError("by zero"))
    assert code == 70
    assert "Traceback" in said
    assert "ZeroDivisionError: by zero" in said
    assert "Please report it" in said
    assert f"ftbridge {__version__}, Python 3." in said


def test_a_folder_that_cannot_be_written_is_a_sentence(end):
    for number in (errno.EACCES, errno.EROFS):
        assert end(OSError(number, "Not here", "/far/runs")) == (
            4,
            "error: `/far/runs`: Not here; use a folder that you can read and write\n",
        )


def test_closed_pipe_exits_without_a_fault_report(monkeypatch, capfd, tmp_path):
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert report(BrokenPipeError()) == 141
    assert capfd.readouterr().err == ""


def test_full_disk_is_one_sentence(monkeypatch, capfd):
    with Path("/dev/full").open("w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with pytest.raises(OSError, match="No space") as found:
            result("an answer")
        assert report(found.value) == 4
    assert capfd.readouterr().err.startswith("error: the disk is full")


# Stands for a model that answers at length.
TALKATIVE = """
import json, sys
def write(**record):
    print(json.dumps(record), flush=True)
write(ready=True)
for line in sys.stdin:
    request = json.loads(line)
    for index in range(len(request.get("prompts", ()))):
        write(number=request["number"], index=index, text="x" * 200_000, finish="stop")
    for _ in range(9 * ("segments" in request)):
        write(number=request["number"], text="x" * 9000)
    write(number=request.get("number"), end="stop")
"""
LIMITED = """
import resource
from ftbridge import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chat", "model", "--prompt", "hi"], "the disk is full"),
        (["chat", "model", "--prompt", "hi", "--no-streamer"], "the disk is full"),
        (["predict", "model", "--dataset", "faq", "--out", "out"], "cannot write `out/unfinished.jsonl`"),
    ],
    ids=["chat", "chat, whole", "predict"],
)
def test_a_full_disk_is_a_sentence_alone_while_a_model_answers(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model", TALKATIVE)
    rows = [{"instruction": f"question {number}", "output": "yes"} for number in range(3)]
    Path("faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ftbridge.convert("faq.jsonl")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments, "--device", "cpu"],
            stdout=full, stderr=-1, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert said in done.stderr.splitlines()[-1], done.stderr


@pytest.fixture
def asking(monkeypatch):
    """Replace the command line by one that asks until it is told `--colour`."""

    @click.command()
    @click.argument("file")
    @click.option("--colour")
    def command(file, colour):
        if not colour:
            answers = {"the sea": ["--colour", "deep blue"], "the grass": ["--colour", "green"]}
            raise QuestionError(f"what is in {file}?", answers)
        click.echo(f"{file} is {colour}")

    monkeypatch.setattr(cli, "cli", command)
    monkeypatch.setattr("sys.argv", ["ftbridge", "my picture", "--"])


def test_a_question_that_nobody_answers_shows_the_commands_to_type(asking, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: what is in my picture?\n"
        "  the sea:\n    ftbridge 'my picture' --colour 'deep blue' --\n"
        "  the grass:\n    ftbridge 'my picture' --colour green --\n"
    )


@pytest.mark.parametrize(
    ("typed", "answer", "shown"),
    [
        ("a.csv --name faq --seed 3", "--name faq-2", "a.csv --seed 3 --name faq-2"),
        ("--name=faq a.csv", "--name faq-2", "a.csv --name faq-2"),
        ("a.csv --system --name", "--name faq-2", "a.csv --system --name --name faq-2"),
        ("a.csv --replace --no-shuffle", "--replace --shuffle", "a.csv --replace --shuffle"),
        (
            "a.csv --map input=A --to xtuner",
            "--map output=B --to alpaca",
            "a.csv --map input=A --map output=B --to alpaca",
        ),
        ("a.csv --name faq -- --name", "--name faq-2", "a.csv --name faq-2 -- --name"),
        ("a.csv --name", "--name faq-2", "a.csv --name faq-2"),
    ],
)
def test_an_answer_takes_the_place_of_what_was_typed(typed, answer, shown, capsys):
    report(QuestionError("which?", {"this": answer.split()}), ["convert", *typed.split()])
    assert capsys.readouterr().err == f"error: which?\n  this:\n    ftbridge convert {shown}\n"


def test_an_answer_to_a_command_of_a_group_takes_the_place_of_what_was_typed(capsys):
    report(QuestionError("which?", {"this": ["--yes"]}), ["datasets", "remove", "faq", "--yes"])
    assert capsys.readouterr().err.endswith("    ftbridge datasets remove faq --yes\n")


def test_a_question_is_an_error_with_the_options_for_callers_from_python():
    error = QuestionError("which?", {"the sea": ["--colour", "deep blue"]})
    assert str(error) == "which?\n  the sea: --colour 'deep blue'"
    assert isinstance(error, UsageError)


def test_a_question_on_a_terminal_is_asked_until_it_is_answered(tmp_path):
    (tmp_path / "ask.py").write_text(ASK, encoding="utf-8")
    with terminal(str(tmp_path / "ask.py"), "picture") as screen:
        shown = screen.wait("which one?")
        assert "1  the sea: --colour 'deep blue'" in shown
        screen.type("3\n1\n")
        screen.wait("is deep blue")
        assert screen.end() == 0


def test_a_question_on_a_terminal_can_be_left(tmp_path):
    (tmp_path / "ask.py").write_text(ASK, encoding="utf-8")
    with terminal(str(tmp_path / "ask.py"), "picture") as screen:
        screen.wait("which one?")
        screen.press("\x03", "stopped")
        assert screen.end() == 130


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("inspect", "错误：缺少参数 'SOURCE...'"),
        ("completion", "错误：缺少参数 '{bash|zsh|fish}'；可选：bash, zsh, fish"),
        ("chat --temperature 三", "不是有效的数字"),
        ("runs prune --keep 三", "不是有效的整数"),
    ],
)
def test_wrong_usage_is_told_in_chinese_punctuation(typed, said):
    argv = [sys.executable, "-m", "ftbridge", *typed.split()]
    env = {**os.environ, "FTBRIDGE_LANG": "zh", "PYTHONUTF8": "1"}
    done = subprocess.run(argv, check=False, env=env, capture_output=True, text=True, encoding="utf-8")
    assert said in done.stderr, done.stderr
    assert done.stderr.strip()[-1] not in ".。"
