"""What stands beside the text of an answer: flags and thoughts; test_formats.py has them converted."""

import pytest

from ftbridge.adapters.mapping.conversations.flags import (
    LOSS,
    MASK,
    NO_LOSS,
    REASONING,
    TOOLS,
    answer_without,
    is_learned,
    is_left_out,
    key_kind,
    refuse_partial_masks,
    refuse_untrainable,
    thought_of,
)
from ftbridge.adapters.values import BadValueError


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *(
            (key, LOSS)
            for key in (
                "loss",
                "lossWeight",
                "loss_scale",
                "isTrained",
                "train-on",
                "trainable",
                "loss_mask",
                "是否训练",
            )
        ),
        *((key, NO_LOSS) for key in ("no_loss", "untrained", "exclude_from_training", "skipLoss", "ignore-train")),
        *((key, MASK) for key in ("mask", "is_masked", "mask_loss", "unmasked", "no_loss_mask", "unsupervised_train")),
        *((key, REASONING) for key in ("reasoning_content", "Inner Thoughts", "chain-of-thought", "思维链")),
        *((key, TOOLS) for key in ("tool_calls", "functionCall", "Tool Responses")),
        *((key, "") for key in ("content", "id", "name", "timestamp", "glossary", "constraint", "strain", "内容")),
    ],
)
def test_keys_of_loss_flags_tools_and_images_are_told_by_their_words(key, kind):
    assert key_kind(key) == kind


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "1", " Yes ", "", None, [1, True]])
def test_answers_whose_flags_are_on_are_learned(value):
    assert is_learned({"loss": value, "train_flag": value})


@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "0", "NO", "0.0", [0, 0]])
def test_answers_whose_flags_are_off_are_not_learned(value):
    for key in ("loss", "train_flag", "output_with_loss"):
        assert not is_learned({key: value})
    assert is_learned({"no_loss": value})
    assert not is_learned({"no_loss": "true", "loss": 1})


@pytest.mark.parametrize("value", [0.5, 2, -1, [1, 0], [[1]]])
def test_weights_of_answers_and_parts_of_them_are_refused(value):
    for key in ("loss", "train_flag", "skip_loss"):
        with pytest.raises(BadValueError, match=f"has `{key}`"):
            is_learned({key: value})


def test_value_under_a_name_that_only_looks_like_a_flag_is_let_through():
    assert is_learned({"training_set": "web", "weights": {"a": 0}})
    with pytest.raises(BadValueError, match="has `train` later"):
        is_learned({"train": "later"})


def test_mask_that_is_the_same_on_all_answers_is_let_through():
    refuse_partial_masks([{"mask": 0}, {"mask": 0}])
    refuse_partial_masks([{"mask": None}, {}])
    with pytest.raises(BadValueError, match="on some answers only"):
        refuse_partial_masks([{"mask": 0}, {}])
    with pytest.raises(BadValueError, match="has `mask` 1, which may"):
        is_learned({"mask": 1})


def test_one_thought_beside_an_answer_is_read_under_any_name():
    assert thought_of({"content": "4", "reasoning": " hm\n", "thinking": None}, 10) == " hm\n"
    assert thought_of({"reasoning": "hm", "reasoning_content": "hm"}, 10) == "hm"
    for values in ({"reasoning": "hm", "thought": "oh"}, {"thinking_blocks": [{"thinking": "hm"}]}, {"cot": "x" * 11}):
        with pytest.raises(BadValueError):
            thought_of(values, 10)


def test_flag_of_a_row_leaves_it_out_by_its_name():
    for value in (0, 0.0, False, "false", " No ", "否", [1, 0]):
        assert is_left_out("train", value)
        assert not is_left_out("no_loss", value if not isinstance(value, list) else 0)
    for value in (1, True, "yes", "是", "later", 0.5, None, "", []):
        assert not is_left_out("loss", value)
    assert is_left_out("skip_loss", "true")


def test_thought_that_stands_in_the_answer_too_is_taken_out_of_it():
    assert answer_without("hm", "\n<think> hm\n</think>\n\n4") == "4"
    assert answer_without("", "<think>hm</think>4") == "<think>hm</think>4"
    assert answer_without("hm", "4 <think>") == "4 <think>"
    with pytest.raises(BadValueError, match="has a thought inside its text, and another in a separate field"):
        answer_without("hm", "<think>oh</think>4")


@pytest.mark.parametrize("value", [None, "", "[]", "{}", "null", [], {}, {"name": None, "arguments": ""}, False, 0])
def test_empty_flags_of_tools_and_images_are_let_through(value):
    refuse_untrainable({"tool_calls": value, "reasoning": value, "images": value})
    assert thought_of({"reasoning": value}, 10) == ""
