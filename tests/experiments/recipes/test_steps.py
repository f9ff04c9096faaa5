"""What makes a step of a recipe another one than it was."""

import pytest

from ftbridge.core.project import Project, Settings
from ftbridge.experiments.recipes.recipe import parse_recipe
from ftbridge.experiments.recipes.steps import Book, Done, _difference, shown

BEFORE = Done(options={"lora_rank": 8, "merge": True, "set": {"name": "a"}}, on={"the data": "1", "faq.csv": "2"})


@pytest.mark.parametrize(
    ("options", "on", "reason"),
    [
        (BEFORE.options, BEFORE.on, ""),
        ({**BEFORE.options, "lora_rank": 16}, BEFORE.on, "lora_rank was 8 and is 16"),
        ({"lora_rank": 8, "set": {"name": "a"}}, BEFORE.on, "merge was on and is not given"),
        ({**BEFORE.options, "set": {}}, BEFORE.on, "set was name: a and is not given"),
        (BEFORE.options, {"the data": "1", "faq.csv": "3"}, "faq.csv has changed"),
        ({**BEFORE.options, "seed": 1}, {"the data": "2", "faq.csv": "2"},
         "seed was not given and is 1, the data has changed"),
    ],
)  # fmt: skip
def test_a_step_differs_by_its_options_or_by_what_it_is_done_on(options, on, reason):
    assert _difference(BEFORE, options, on) == reason


def test_values_are_shown_as_they_are_typed():
    assert shown({"grid": {"sample": [10, 20]}, "seed": None}) == "grid: sample: 10,20, seed: not given"


def test_what_was_done_is_read_again(tmp_path):
    recipe = parse_recipe("x", "convert: {sources: a}\ntrain: {}", "it")
    book = Book(recipe, Project(tmp_path, Settings()), parallel=False, max_points=1)
    book.note("convert", Done(made={"dataset": "a-train"}))
    book.note_training("key", "run")
    again = Book(recipe, Project(tmp_path, Settings()), parallel=False, max_points=1)
    assert (again.made("convert"), again.state.trainings) == ({"dataset": "a-train"}, {"key": "run"})
