"""`ftbridge demo`: what it cannot do is said before anything starts."""

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    return tmp_path


def demo(*arguments):
    return CliRunner().invoke(cli, ["demo", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-train"], "give a folder for them with `--keep DIR`"),
        (["--keep", "mine"], "mine` exists already and is not empty"),
        (["--keep", "mine/thesis.txt"], "thesis.txt` exists already"),
    ],
)
def test_demo_options_that_do_not_fit_are_wrong_usage(folder, arguments, message):
    done = demo(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert message in str(done.exception)
    assert {path.name for path in folder.iterdir()} == {"mine"}


def test_demo_with_wrong_options_exits_with_2(run_ftbridge):
    done = run_ftbridge("demo", "--no-train")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: `--no-train` makes files")


@pytest.mark.parametrize("arguments", [["--keep"], ["folder"], ["--train"], ["--backend", "xtunre"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert demo(*arguments).exit_code == 2


def test_demo_options_reach_the_function(monkeypatch):
    asked = []
    monkeypatch.setattr("ftbridge.experiments.demo.demo", lambda **options: asked.append(options))
    assert demo("--backend", "xtuner", "--keep", "new", "--no-train", "--seed", "7").exit_code == 0
    assert asked == [{"backend": "xtuner", "keep": "new", "train": False, "seed": 7}]
