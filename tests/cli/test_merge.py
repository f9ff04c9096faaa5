"""`ftbridge merge`: what is asked for goes through, and the new folder is the result."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import UsageError

DEFAULTS = {
    "model": None,
    "out": None,
    "checkpoint": None,
    "adapters": (),
    "onto": None,
    "shard_size": 5 * 10**9,
    "device": "auto",
}


@pytest.mark.parametrize(
    ("arguments", "source", "asked"),
    [
        ([], None, {}),
        (["run", "--model", "base", "--out", "there"], "run", {"model": "base", "out": "there"}),
        (["--checkpoint", "best"], None, {"checkpoint": "best"}),
        (["run", "--adapter", "a", "--adapter", "b=-0.5"], "run", {"adapters": (("a", 1.0), ("b", -0.5))}),
        (["--onto", "nf4", "--device", "cpu"], None, {"onto": "nf4", "device": "cpu"}),
        (["--shard-size", "500mb"], None, {"shard_size": 500 * 10**6}),
        (["--shard-size", "1.5G"], None, {"shard_size": 1500 * 10**6}),
    ],
)
def test_merge_options_reach_the_function_and_the_folder_is_printed(monkeypatch, arguments, source, asked):
    def merge(given, **how):
        assert (given, how) == (source, {**DEFAULTS, **asked})
        return Path("new", "folder")

    monkeypatch.setattr("ftbridge.weights.merge.merge", merge)
    done = CliRunner().invoke(cli, ["merge", *arguments])
    assert (done.exit_code, done.stdout) == (0, "new/folder\n"), done.output
    assert json.loads(CliRunner().invoke(cli, ["merge", *arguments, "--json"]).stdout) == {"folder": "new/folder"}


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--verify-answers"], (4, False)),
        (["--verify-answers", "2", "--trust-remote-code"], (2, True)),
        (["--verify-answers", "7", "run"], (7, False)),
    ],
)
def test_merge_with_verify_answers_passes_a_check(monkeypatch, arguments, asked):
    def same_answers(count, device, *, trust_remote_code):
        return count, device, trust_remote_code

    monkeypatch.setattr("ftbridge.evaluation.answers.verify.same_answers", same_answers)
    monkeypatch.setattr("ftbridge.weights.merge.merge", lambda _, **how: how["check"])
    count, trust = asked
    assert CliRunner().invoke(cli, ["merge", *arguments]).stdout == f"({count}, 'auto', {trust})\n"


def test_trust_without_a_check_is_wrong_usage():
    done = CliRunner().invoke(cli, ["merge", "--trust-remote-code"])
    assert isinstance(done.exception, UsageError)
    assert "is for `--verify-answers`;" in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["one", "two"],
        ["--out"],
        ["--adapter", "x=much"],
        ["--shard-size", "0"],
        ["--shard-size", "big"],
        ["--shard-size", "2"],
        ["--shard-size", "999KB"],
        ["--onto", "int8"],
        ["--verify-answers", "0"],
        ["--verify"],  # which is preview's
    ],
)
def test_wrong_arguments_are_wrong_usage(arguments):
    done = CliRunner().invoke(cli, ["merge", *arguments])
    assert done.exit_code == 2, done.output
