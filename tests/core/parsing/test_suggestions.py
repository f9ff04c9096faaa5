"""What people may mean by another name."""

import pytest

from ftbridge.core.parsing.suggestions import NEAR, SAME, meant, normal
from ftbridge.core.train_spec import TrainSpec


@pytest.mark.parametrize(
    ("word", "choices", "found"),
    [
        ("--lr", ["--learning-rate", "--dora"], ["--learning-rate"]),
        ("model_name_or_path", ["model", "method"], ["model"]),
        ("--bs", ["--micro-batch-size", "--epochs"], ["--micro-batch-size"]),
        ("finetune", ["train", "predict"], ["train"]),
        ("infer", ["train", "chat", "predict"], ["chat", "predict"]),
        ("Learning_Rate", ["learning-rate"], ["learning-rate"]),
        ("trian", ["train", "chat"], ["train"]),
        ("xyz", ["train", "chat"], []),
        ("lr", ["dora", "help"], []),  # not by letters, where the meaning is known and not there
    ],
)
def test_a_word_means_what_it_means_elsewhere_or_what_it_looks_like(word, choices, found):
    assert meant(word, choices) == found


def test_tables_are_in_one_spelling_and_name_options_that_there_are():
    assert all(normal(word) == word for word in (*SAME, *NEAR))
    assert not SAME.keys() & NEAR.keys()
    assert set(SAME.values()) - {"resume"} <= set(TrainSpec.__struct_fields__)
