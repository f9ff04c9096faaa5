"""What the user wants trained: one table of defaults, and limits that hold."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import get_type_hints

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.core.train_spec import DatasetChoice, Tracker, TrainOptions, TrainSpec, defaults

NEEDED = {"backend": "xtuner", "model": "base", "dataset": "faq"}


def test_the_defaults_are_those_of_the_documentation():
    expected = {
        "method": "qlora",
        "lora_rank": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "learning_rate": 2e-4,
        "scheduler": "cosine",
        "epochs": 3,
        "gpus": 1,
        "device": "auto",
        "trust_remote_code": False,
    }
    assert expected.items() <= defaults().items()
    assert not NEEDED.keys() & defaults().keys()


def test_a_spec_takes_text_as_it_comes_from_yaml():
    spec = parse(TrainSpec, {**NEEDED, "learning_rate": "2e-5", "gpus": "all", "set": {"a": "1"}}, "it")
    assert (spec.learning_rate, spec.gpus, spec.set) == (2e-5, "all", {"a": "1"})
    assert TrainSpec(**NEEDED).set == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "prefix"),
        ("lora_rank", 0),
        ("lora_dropout", 1.0),
        ("learning_rate", 0),
        ("learning_rate", "inf"),
        ("learning_rate", "nan"),
        ("epochs", -1),
        ("epochs", "inf"),
        ("scheduler", "step"),
        ("device", "tpu"),
        ("seed", 2**32),
        ("gpus", 0),
        ("gpus", "many"),
        ("save_steps", 1.5),
    ],
)
def test_a_value_out_of_its_limits_is_named(key, value):
    with pytest.raises(InputError, match=f"the training: `(--)?{key}` takes .*; got `"):
        parse(TrainSpec, {**NEEDED, key: value}, "the training")


def test_a_count_of_no_gpus_is_wrong_usage():
    with pytest.raises(UsageError, match="got `0`"):
        TrainSpec(**NEEDED, gpus=0)


def test_train_options_have_the_fields_and_types_of_a_spec():
    path = str | PathLike[str]
    wider = {
        "model": path,
        "dataset": str | Sequence[str],
        "dataset_dir": path,
        "chat_template": path | None,
        "deepspeed": path,
        "lora_targets": Sequence[str],
        "track": Sequence[Tracker],
        "set": Mapping[str, str | float],
    }
    options = get_type_hints(TrainOptions)
    assert list(options) == list(TrainSpec.__struct_fields__)
    assert not TrainOptions.__required_keys__
    assert options == get_type_hints(TrainSpec) | wider


@pytest.mark.parametrize(
    ("given", "kept", "choices"),
    [
        ("faq", ("faq",), [DatasetChoice("faq")]),
        ("faq, news#500", ("faq", "news#500"), [DatasetChoice("faq"), DatasetChoice("news", 500)]),
        (["faq#0.10", "客服,"], ("faq#0.1", "客服"), [DatasetChoice("faq", 0.1), DatasetChoice("客服")]),
        ("faq#0.00001", ("faq#0.00001",), [DatasetChoice("faq", 1e-5)]),
        ("faq#2000000", ("faq#2000000",), [DatasetChoice("faq", 2_000_000)]),
    ],
)
def test_a_dataset_is_a_list_however_it_is_given(given, kept, choices):
    spec = parse(TrainSpec, {**NEEDED, "dataset": given}, "it")
    assert (spec.dataset, [*spec.datasets], spec.dataset_text) == (kept, choices, ", ".join(kept))
    assert parse(TrainSpec, msgspec.to_builtins(spec), "it") == spec


@pytest.mark.parametrize("given", ["faq#0", "faq#-1", "faq#1.0", "faq#0.0", "faq#50%", "#5", "faq#1e3"])
def test_what_follows_the_mark_is_a_number_or_a_share(given):
    with pytest.raises(UsageError, match=r"after `#` comes a number of samples from 1 on, as in `\w+#500`"):
        TrainSpec(**{**NEEDED, "dataset": given})


def test_a_dataset_named_twice_is_refused():
    with pytest.raises(UsageError, match="the dataset `faq` is named twice; leave one out"):
        TrainSpec(**{**NEEDED, "dataset": ["faq", "faq#5"]})
