"""What a message says besides its text; test_conversations.py has it refused."""

import pytest

from ftbridge.adapters.mapping.conversations.flags import (
    LOSS,
    MASK,
    REASONING,
    TOOLS,
    key_kind,
    refuse_partial_masks,
    refuse_untrainable,
)
from ftbridge.adapters.values import BadValueError


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *(
            (key, LOSS)
            for key in ("loss", "lossWeight", "loss_scale", "isTrained", "train-on", "trainable", "loss_mask")
        ),
        *((key, MASK) for key in ("mask", "is_masked", "mask_loss", "no_loss", "untrained", "exclude_from_training")),
        *((key, REASONING) for key in ("reasoning_content", "Inner Thoughts", "chain-of-thought", "思维链")),
        *((key, TOOLS) for key in ("tool_calls", "functionCall", "Tool Responses")),
        *((key, "") for key in ("content", "id", "name", "timestamp", "glossary", "constraint", "strain", "内容")),
    ],
)
def test_keys_of_loss_flags_tools_and_images_are_told_by_their_words(key, kind):
    assert key_kind(key) == kind


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "1", " Yes ", "", None])
def test_answers_that_are_trained_pass(value):
    refuse_untrainable({"loss": value, "train_flag": value}, trained=True)


@pytest.mark.parametrize("value", [False, 0, 0.0, 0.5, 2, "false", "0", "NO", [1, 0], [[1]]])
def test_answers_that_are_left_out_are_refused_and_questions_pass(value):
    for key in ("loss", "train_flag"):
        refuse_untrainable({key: value}, trained=False)
        with pytest.raises(BadValueError, match=f"has `{key}`"):
            refuse_untrainable({key: value}, trained=True)


def test_value_under_a_name_that_only_looks_like_a_flag_is_let_through():
    refuse_untrainable({"training_set": "web", "weights": {"a": 0}}, trained=True)
    with pytest.raises(BadValueError, match="has `train` later"):
        refuse_untrainable({"train": "later"}, trained=True)


def test_mask_that_is_the_same_on_all_answers_is_let_through():
    refuse_partial_masks([{"mask": 0}, {"mask": 0}])
    refuse_partial_masks([{"mask": None}, {}])
    with pytest.raises(BadValueError, match="on some answers only"):
        refuse_partial_masks([{"mask": 0}, {}])


@pytest.mark.parametrize("value", [None, "", "[]", "{}", "null", [], {}, {"name": None, "arguments": ""}, False, 0])
def test_empty_flags_of_tools_and_images_are_let_through(value):
    refuse_untrainable({"tool_calls": value, "reasoning": value, "images": value}, trained=True)
