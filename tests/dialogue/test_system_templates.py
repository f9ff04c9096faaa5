"""System prompts by name."""

import os
import re
import subprocess

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import UsageError
from ftbridge.dialogue.system_templates import SYSTEMS, system_prompt
from ftbridge.launchers.process.script import SCRIPTS


def test_system_template_holds_the_name_of_the_bot():
    assert system_prompt("moss_sft", "小助手").startswith("You are 小助手,")
    assert "{" not in system_prompt("moss_sft")


def test_an_unknown_name_is_told_with_the_closest():
    with pytest.raises(UsageError, match=r"no system template `coda`.*coder"):
        system_prompt("coda")


def test_chat_help_names_all_system_templates():
    shown = re.sub(r"\s+", " ", CliRunner().invoke(cli, ["chat", "--help"]).output)
    assert f"{', '.join(list(SYSTEMS)[:-1])} or {list(SYSTEMS)[-1]}." in shown


@pytest.mark.matrix
def test_system_template_names_are_those_of_xtuner(training_python):
    script = "from mends import allow_newer_transformers; allow_newer_transformers(); "
    script += "from xtuner.utils import SYSTEM_TEMPLATE; print(*sorted(SYSTEM_TEMPLATE))"
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([training_python, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-len(SYSTEMS) :] == sorted(SYSTEMS)
