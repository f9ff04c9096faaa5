"""`ftbridge chat`: one answer for scripts, a conversation for people."""

from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.dialogue.generation import Sampling


class Parrot:
    """Stands for a conversation: repeats what it is told, and counts."""

    def __init__(self):
        self.said, self.asked = 0, {}

    def say(self, question):
        self.said += 1
        yield from (f"{self.said}: ", question)

    def reset(self):
        self.said = 0


@pytest.fixture
def parrot(monkeypatch):
    """Put in a model that repeats, and return it."""
    parrot = Parrot()

    @contextmanager
    def talk(source, **options):
        parrot.asked = {"source": source, **options}
        yield parrot

    monkeypatch.setattr("ftbridge.dialogue.chat.talk", talk)
    return parrot


def test_a_prompt_is_answered_once_and_nothing_else_is_said(parrot):
    done = CliRunner().invoke(cli, ["chat", "--prompt", "药?"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1: 药?\n", "")


def test_options_go_through(parrot):
    options = ["--system", "", "--max-new-tokens", "9", "--temperature", "0.5", "--seed", "3", "--device", "cpu"]
    assert CliRunner().invoke(cli, ["chat", "run", "--prompt", "", *options]).exit_code == 0
    sampling = Sampling(max_new_tokens=9, temperature=0.5, seed=3)
    assert parrot.asked == {"source": "run", "system": "", "sampling": sampling, "device": "cpu"}


@pytest.mark.parametrize("ending", ["/exit\nnever asked\n", ""])
def test_a_conversation_goes_on_until_it_is_ended(parrot, ending):
    done = CliRunner().invoke(cli, ["chat"], input=f"one\n\n  two \n/reset\nthree\n{ending}")
    assert done.exit_code == 0, done.output
    assert [line.removeprefix("> ") for line in done.stdout.splitlines() if ": " in line] == [
        "1: one",
        "2: two",
        "1: three",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["--max-new-tokens", "0"], ["--temperature", "-1"], ["--device", "tpu"], ["--seed", "x"], ["one", "two"]],
)
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["chat", *arguments]).exit_code == 2
