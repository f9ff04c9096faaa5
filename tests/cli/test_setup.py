"""`ftbridge setup`: the folder goes through to the library."""

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli


@pytest.mark.parametrize(("arguments", "folder"), [([], None), (["--venv", "here"], "here")])
def test_it_hands_over_the_folder(monkeypatch, arguments, folder):
    asked = []
    monkeypatch.setattr("ftbridge.launchers.environment.setup", asked.append)
    done = CliRunner().invoke(cli, ["setup", *arguments])
    assert done.exit_code == 0, done.output
    assert asked == [folder]


@pytest.mark.parametrize("arguments", [["--venv"], ["folder"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["setup", *arguments]).exit_code == 2
