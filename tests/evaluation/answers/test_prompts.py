"""Fixed prompts: which are taken, and how their answers are kept."""

import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.evaluation.answers.folder import PROMPTS
from ftbridge.evaluation.answers.prompts import PromptAnswer, checked_prompts, prompts_in, save_prompts


def test_each_prompt_is_taken_once_and_one_alone_may_be_a_text():
    assert checked_prompts(["你是谁？", "why", "你是谁？"]) == ("你是谁？", "why")
    assert checked_prompts("why") == ("why",)
    assert checked_prompts(()) == ()


def test_a_prompt_that_is_no_question_is_refused():
    with pytest.raises(UsageError, match="a prompt is empty"):
        checked_prompts(["why", "\n"])
    with pytest.raises(InputError, match="an invalid character"):
        checked_prompts(["why \ud83d"])


def test_answers_are_kept_and_a_damaged_file_is_named(tmp_path):
    assert prompts_in(tmp_path) == ()
    answers = (PromptAnswer("你是谁？", "", "甄嬛", "stop"), PromptAnswer("why", "s", "", "too_long"))
    save_prompts(tmp_path, answers)
    assert prompts_in(tmp_path) == answers
    (tmp_path / PROMPTS).write_text("[{}]")
    with pytest.raises(InputError, match="is damaged; delete it, and the prompts are asked again"):
        prompts_in(tmp_path)
