"""`ftbridge setup`: folder and environment go through to the library."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], (None, "transformers5")),
        (["--venv", "here"], ("here", "transformers5")),
        (["--environment", "transformers4"], (None, "transformers4")),
    ],
)
def test_setup_options_reach_the_function(monkeypatch, arguments, given):
    asked = []
    python = Path("there", "bin", "python")
    monkeypatch.setattr("ftbridge.launchers.environment.setup.setup", lambda *given: asked.append(given) or python)
    done = CliRunner().invoke(cli, ["setup", *arguments])
    assert done.exit_code == 0, done.output
    assert asked == [given]
    assert done.stdout == ""
    found = json.loads(CliRunner().invoke(cli, ["setup", *arguments, "--json"]).stdout)
    assert found == {"python": "there/bin/python", "environment": given[1]}


@pytest.mark.parametrize("arguments", [["--venv"], ["folder"], ["--environment", "transformers3"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["setup", *arguments]).exit_code == 2
