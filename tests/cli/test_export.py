"""`ftbridge export`: what is asked for goes through, and the new folder is the result."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], (None, None, None, None)),
        (
            ["run", "--model", "base", "--out", "there", "--checkpoint", "best"],
            ("run", "base", "there", "best"),
        ),
    ],
)
def test_export_options_reach_the_function_and_the_folder_is_printed(monkeypatch, arguments, asked):
    def export(source, *, model, out, checkpoint):
        assert (source, model, out, checkpoint) == asked
        return Path("new", "folder")

    monkeypatch.setattr("ftbridge.weights.export.export", export)
    done = CliRunner().invoke(cli, ["export", *arguments])
    assert (done.exit_code, done.stdout) == (0, "new/folder\n"), done.output
    assert json.loads(CliRunner().invoke(cli, ["export", *arguments, "--json"]).stdout) == {"folder": "new/folder"}


@pytest.mark.parametrize("arguments", [["one", "two"], ["--out"], ["--adapter", "x"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["export", *arguments]).exit_code == 2
