"""docs/cli.md is what the commands say; and what they say is well-formed, at any width."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ftbridge.cli import EXAMPLES, cli
from ftbridge.cli.options import Command, Option
from ftbridge.cli.reference import commands, help_of

ROOT = Path(__file__).parents[2]
COMMANDS = dict(commands(cli))
every_command = pytest.mark.parametrize("path", COMMANDS)


def test_cli_reference_page_is_up_to_date():
    module = [sys.executable, "-m", "ftbridge.cli.reference"]
    env = {**os.environ, "COLUMNS": "60", "TERM": "dumb"}  # it does not hang on the terminal
    done = subprocess.run(module, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_command_below_a_command_is_there():
    for path in ("ftbridge", "ftbridge train", "ftbridge runs prune", "ftbridge datasets remove"):
        assert path in COMMANDS


@every_command
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_help_fits_its_terminal_and_has_no_colours(path, width):
    text = help_of(path, COMMANDS[path], width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert not re.search(r"\.\.\.$", text.partition("\n")[2], re.MULTILINE), "a sentence is cut short"


@every_command
def test_a_help_ends_with_two_examples_that_parse(path):
    command = COMMANDS[path]
    examples = EXAMPLES if path == "ftbridge" else command.examples
    assert len(examples) == 2
    assert help_of(path, command, 60).endswith("".join(f"\n  {example}" for example in examples))
    for example in examples:
        assert path == "ftbridge" or f"{example} ".startswith(f"{path} ")
        context, words = click.Context(cli), shlex.split(example)[1:]
        while isinstance(context.command, click.Group):
            name, found, words = context.command.resolve_command(context, words)
            sub = found.make_context(name, [] if isinstance(found, click.Group) else words, parent=context,
                                     resilient_parsing=isinstance(found, click.Group))  # fmt: skip
            context = sub


@every_command
def test_an_option_has_a_help_and_stands_once(path):
    command = COMMANDS[path]
    text = help_of(path, command)
    for param in command.params:
        if isinstance(param, click.Option):
            assert isinstance(param, Option) or path == "ftbridge"
            assert re.match(r"[A-Zq0-9].{12,}[.)]$", param.help) or path == "ftbridge", param.help
    lines = [line.split()[0].rstrip(",") for line in re.findall(r"^  (-.*)$", text, re.MULTILINE)]
    names = [min(param.opts, key=len) for param in command.params if isinstance(param, click.Option)]
    assert sorted(line for line in lines if line not in {"-h", "--help"}) == sorted(names)


def test_defaults_and_metavars_have_one_style():
    for path, command in COMMANDS.items():
        text = " ".join(help_of(path, command).split())
        assert "efault:" not in re.sub(r"\[default: |\(default: the last that succeeded\)", "", text).replace(
            "(default: the last conversion's)", ""
        ), path
        assert not re.search(r"\b(FOLDER|INTEGER|FLOAT|DIRECTORY|INTEGER RANGE)\b|[<>]=", text), path


def test_commands_with_many_options_have_headings():
    for name in ("train", "convert", "chat"):
        command = COMMANDS[f"ftbridge {name}"]
        assert isinstance(command, Command)
        named = {each for names in command.headings.values() for each in names}
        assert len(command.headings) > 3
        assert named == {param.name for param in command.params if isinstance(param, click.Option)}


def test_every_command_with_a_result_has_json():
    without = {"ftbridge", "ftbridge demo", "ftbridge chat", "ftbridge completion", "ftbridge datasets"}
    without |= {"ftbridge runs", "ftbridge runs logs", "ftbridge runs plot", "ftbridge recipe", "ftbridge sweep"}
    without.add("ftbridge help")
    for path, command in COMMANDS.items():
        assert ("as_json" in {param.name for param in command.params}) == (path not in without), path


def test_no_command_imports_another():
    modules = {name.partition(" ")[2].partition(" ")[0] for name in COMMANDS}
    for module in modules - {""}:
        text = (ROOT / "ftbridge" / "cli" / f"{module}.py").read_text(encoding="utf-8")
        found = set(re.findall(r"(?:from|import) ftbridge\.cli\.(\w+)", text))
        assert not found & modules, module
