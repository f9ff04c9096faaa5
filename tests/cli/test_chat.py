"""`ftbridge chat`: what is refused before a model is loaded, and what a pipe gets."""

import os
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
        ["--max-new-tokens", "9" * 30],
        ["one", "two"],
    ],
)
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["chat", *arguments]).exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "message"),
    [
        (["--system", "", "--system-template", "coder"], "药?", 2, "use one of them"),
        (["--system-template", "doctor"], "药?", 2, "there is no system template `doctor`"),
        ([], " \n", 3, "there is no run in"),
        (["."], " \n", 3, "there is no question on stdin"),
        (["--prompt", "-"], "药吗".encode("gb18030"), 3, "stdin is not UTF-8 text"),
        (["nowhere"], "药?", 3, "nowhere"),
        (["--web", "--prompt", "药?"], "", 2, "use one of them"),
        (["--temperature", "nan"], "药?", 2, "`temperature` must be a number from 0.0 to 100.0"),
        (["--temperature", "1e-300"], "药?", 2, "`temperature` must be 0, or a number of at least 0.0001"),
        (["--repetition-penalty", "inf"], "药?", 2, "`repetition_penalty` must be a number from 0.01 to 100.0"),
        (["--top-p", "nan"], "药?", 2, "`top_p` must be a number from 0.0001 to 1.0"),
        (["--seed", "4294967296"], "药?", 2, "`seed` must be a whole number from 0 to 4294967295"),
        (["--password", "x"], "药?", 2, "are for the page; add `--web`"),
        (["--allow-host", "x"], "药?", 2, "are for the page; add `--web`"),
        (["--web", "--allow-host", "x:80"], "", 2, "a name such as `gpu1.example.org`, without a port; got `x:80`"),
        (["--web", "--password", ""], "", 2, "give `--password` another"),
        (["--web", "--password", b"\xff"], "", 2, "give `--password` another"),
        (["--system", b"\xff"], "药?", 3, r"the system prompt holds an invalid character (`\udcff`)"),
        (["--stop-word", b"x\xff"], "药?", 3, r"a stop word holds an invalid character (`\udcff` after `x`)"),
    ],
)
def test_chat_that_cannot_work_is_a_sentence(arguments, stdin, code, message, tmp_path):
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


@pytest.mark.parametrize(
    ("there", "given", "password"),
    [("from there", [], "from there"), ("from there", ["--password", "from here"], "from here"), ("", [], None)],
)
def test_the_password_is_no_longer_in_the_environment_when_something_is_started(monkeypatch, there, given, password):
    seen = []

    def serve(_, **page):
        seen.append((page, os.environ.get("FTBRIDGE_PASSWORD")))

    monkeypatch.setenv("FTBRIDGE_PASSWORD", there)
    monkeypatch.setattr("ftbridge.dialogue.web.serve", serve)
    done = CliRunner().invoke(cli, ["chat", "--web", "--allow-host", "one", "--allow-host", "two", *given])
    assert done.exit_code == 0, done.output
    assert seen == [({"host": "127.0.0.1", "port": None, "allow_hosts": ("one", "two"), "password": password}, None)]


def test_a_password_in_the_environment_does_not_ask_for_a_page(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTBRIDGE_PASSWORD", "x")
    done = CliRunner().invoke(cli, ["chat", "nowhere", "--prompt", "药?"])
    assert "--web" not in done.output + str(done.exception)
