"""`ftbridge chat`: what is refused before a model is loaded, and what a pipe gets."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-new-tokens", "0"],
        ["--temperature", "-1"],
        ["--top-p", "0"],
        ["--top-p", "1.1"],
        ["--top-k", "-1"],
        ["--repetition-penalty", "0"],
        ["--bits", "5"],
        ["--device", "tpu"],
        ["--seed", "x"],
        ["--web", "--port", "0"],
        ["one", "two"],
    ],
)
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["chat", *arguments]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "message"),
    [
        (["--system", "", "--system-template", "coder"], "药?", 2, "use one of them"),
        (["--system-template", "doctor"], "药?", 2, "there is no system template `doctor`"),
        ([], " \n", 3, "there is no question on stdin"),
        (["--prompt", "-"], "药吗".encode("gb18030"), 3, "stdin is no UTF-8 text"),
        (["nowhere"], "药?", 3, "nowhere"),
        (["--web", "--prompt", "药?"], "", 2, "use one of them"),
    ],
)
def test_what_cannot_work_is_a_sentence(arguments, stdin, code, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ftbridge", "chat", *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.framework
def test_a_piped_question_is_answered_and_nothing_else_is_printed(trained, in_project, run_ftbridge):
    run = trained(backend="xtuner")
    limits = ["--max-new-tokens", "4", "--device", "cpu", "--no-streamer"]
    given = run_ftbridge("chat", run.id, "--prompt", "你好", "--compare", *limits, cwd=in_project)
    assert given.returncode == 0, given.stderr
    assert given.stdout.startswith("[before]\n")
    assert "\n[after]\n" in given.stdout
