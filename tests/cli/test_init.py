"""The command line as a whole: its help, its start-up, and what it says of wrong words."""

import json
import os
import re
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ftbridge import __version__
from ftbridge.cli import COMMANDS, cli

HEAVY = ("torch", "transformers", "openpyxl", "python_calamine", "jinja2", "yaml", "rich", "msgspec", "pyarrow")
LOADED = """
import importlib, json, sys
from click.testing import CliRunner
from ftbridge.cli import COMMANDS, cli
assert CliRunner().invoke(cli, sys.argv[1:]).exit_code == 0
print(json.dumps(sorted(sys.modules)))
"""
EVERY = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]


def test_help_lists_every_command_and_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LOADED, "--help"], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert not set(HEAVY).intersection(loaded)
    ours = {"ftbridge", "ftbridge.cli", "ftbridge.cli.help_text", "ftbridge.language"}
    assert {name for name in loaded if name.startswith("ftbridge")} == ours
    output = CliRunner().invoke(cli, ["--help"]).output
    assert re.findall(r"^  (\w+)  +\S", output.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_takes_little_longer_than_click_alone(language):
    def seconds(*arguments):
        """Return the least time of the processor that a start takes."""
        env, taken = {**os.environ, "FTBRIDGE_LANG": language}, []
        for _ in range(12):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], env=env, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(taken)

    assert seconds("-m", "ftbridge", "--help") - seconds("-c", "import click") <= 0.04


def test_a_commands_module_loads_only_click_and_the_options_record():
    code = LOADED.replace("assert", "for name in COMMANDS: importlib.import_module(f'ftbridge.cli.{name}')\nassert")
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    ours = {name for name in json.loads(done.stdout) if name.startswith("ftbridge.")}
    # The options of `train` are made from its record.
    assert set(HEAVY).intersection(json.loads(done.stdout)) == {"msgspec"}
    record = {"ftbridge.language", "ftbridge.core", "ftbridge.core.errors", "ftbridge.core.train_spec"}
    shared = {f"ftbridge.cli{name}" for name in ("", ".figures", ".help_text", ".options", ".output", ".train_options")}
    assert ours == {*shared, *record, *(f"ftbridge.cli.{name}" for name in COMMANDS)}


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_help_of_every_command_exits_with_0(arguments):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(("Usage: ", f"ftbridge {__version__}\n"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_and_so_are_its_options(name):
    command = cli.get_command(None, name)
    assert command.help
    assert all(param.help for param in command.params if param.param_type_name == "option" and not param.show_default)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "there is no command `trian`; did you mean `train`?"),
        (["x"], "there is no command `x`; known are: chat, completion"),
        (["--vresion"], "No such option"),
        (["train", "--bakcend", "xtuner"], "there is no option `--bakcend`; did you mean `--backend`?"),
        (["merge", "one", "two"], "unexpected extra argument"),
    ],
)
def test_unknown_command_or_option_is_wrong_usage(arguments, message):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["trian"], 2), ([], 2)])
def test_process_exits_with_the_code_of_the_command(run_ftbridge, arguments, code):
    done = run_ftbridge(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_chinese_paths_work_where_python_takes_them_for_ascii(run_ftbridge, tmp_path):
    folder = tmp_path / "项目"
    folder.mkdir()
    (folder / "药.csv").write_text("question,answer\n药?,好\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_ftbridge("convert", "药.csv", cwd=folder, **plain)
    assert done.returncode == 0, done.stderr
    assert "药?" in done.stdout
    assert (folder / "data" / "药-train.xtuner.jsonl").is_file()
    assert "药-train" in run_ftbridge("datasets", "list", cwd=folder, **plain).stdout
    assert run_ftbridge("datasets", "remove", "药", "--yes", cwd=folder, **plain).returncode == 0
    assert not (folder / "data" / "药-train.xtuner.jsonl").exists()
