"""The options of a training, for the commands that take all of them or some."""

import click
import pytest
from click.testing import CliRunner

from ftbridge.cli.train_options import train_options
from ftbridge.core.train_spec import TrainSpec, defaults


def command_with(*names, seen=None):
    """Return a command with these options, which puts what it is given into `seen`."""
    return click.command("some")(train_options(*names)(lambda **given: seen.update(given)))


def names(command):
    return [param.name for param in command.params]


def test_a_command_gets_all_options_or_those_that_it_names_in_the_order_of_the_table():
    fields = list(TrainSpec.__struct_fields__)
    assert names(command_with()) == fields
    assert names(command_with("packing", "model", "learn")) == ["model", "learn", "packing"]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], {"thinking": None, "packing": None, "cutoff_length": None, "lora_targets": ()}),
        (["--thinking", "on", "--no-packing"], {"thinking": "on", "packing": False}),
        (["--cutoff-length", "9", "--lora-targets", "a, b"], {"cutoff_length": 9, "lora_targets": ("a", "b")}),
    ],
)
def test_what_is_not_given_is_none_and_what_is_has_its_type(arguments, value):
    seen = {}
    assert CliRunner().invoke(command_with(*value, seen=seen), arguments).exit_code == 0
    assert seen == value


def test_a_default_is_shown_that_the_table_has():
    (option,) = command_with("too_long").params
    assert option.default is None
    assert option.show_default == defaults()["too_long"]
