"""The options of a recipe's sections are those of the commands."""

import inspect

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.core.errors import InputError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.experiments.recipes.sections import STEPS, check_section, options_of


def test_each_section_has_the_options_of_its_command():
    own = {step: {*options_of(step).__struct_fields__} for step in STEPS}
    keywords = {name for name, each in inspect.signature(convert).parameters.items() if each.kind is each.KEYWORD_ONLY}
    reading = {"sheet", "all_sheets", "header_row", "fill_merged", "as_shown", "encoding", "delimiter", "quote"}
    assert own["convert"] == (keywords | reading | {"sources"}) - {"dataset_dir", "dry_run", "callback"}
    assert own["train"] == {*TrainSpec.__struct_fields__} - {"dataset", "dataset_dir"}
    assert {"before", "baseline", "max_new_tokens", "also"} <= own["evaluate"]
    assert own["report"] == {"out", "language", "xlsx", "markdown"}
    assert own["sweep"] == {"grid", "points", "random", "seeds", "metric"}


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("convert", {"sample": [100, 500], "max_rejected": "1%", "map": {"instruction": 1}, "header_row": 0}),
        ("train", {"gpus": "all", "track": ("swanlab",), "learning_rate": 2e-4, "max_steps": 3}),
        ("evaluate", {"baseline": ["none"], "also": ["other-test"], "limit": 5}),
        ("report", {"xlsx": "tables.xlsx", "markdown": True}),
        ("export", {"checkpoint": "best", "merge": True, "shard_size": "500MB", "onto": "nf4"}),
        ("sweep", {"points": [{"lora_rank": 8}], "seeds": [1, 2]}),
    ],
)
def test_values_stay_what_they_are(section, values):
    assert check_section(section, values, "it", {}) == values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shard_size": "2GB"}, "is an option of a merge; add `merge: true`"),
        ({"merge": True, "shard_size": "much"}, "`much` is not a size with a unit, such as 5GB or 500MB"),
        ({"merge": True, "onto": "int8"}, "`onto` takes"),
    ],
)
def test_options_of_a_merge_are_checked(values, words):
    with pytest.raises(InputError, match=words):
        check_section("export", values, "it", {})


def test_a_value_that_does_not_fit_is_told_by_its_place():
    with pytest.raises(InputError, match=r"^line 7: `seed` takes a whole number of at least 0; got `-1`$"):
        check_section("train", {"seed": -1}, "it", {"seed": "line 7: `seed`"})
