"""Where a thought stands in what chat templates write; the script is loaded by its path, as the scripts do."""

import runpy

import pytest

from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.tokens.chat_template import ChatTemplate

thoughts = runpy.run_path(str(SCRIPTS / "thoughts.py"))
QWEN = "{% if add_generation_prompt and not enable_thinking %}<think>\n\n</think>{% endif %}"


@pytest.mark.parametrize(
    ("prompt", "begun", "thought", "between"),
    [
        ("?<a>", "?<a>", "", ""),
        ("?<a>", "?<a> ", "", " "),
        ("?<a>", "?<a><think>\n\n</think>\n\n", "", "<think>\n\n</think>\n\n"),
        ("?<a><think>\n", "?<a>", "why", "why\n</think>\n\n"),
        ("?<a><think>\n", "?<a><think></think>", "why", "why\n</think>"),
        ("?<a><think>\n", "?<a></think>\n", "", "\n</think>\n"),
        ("?<a><think>", "?<a></think>", "", "</think>"),
        ("?<a><channel|>", "?<a>", "", ""),
        ("?<a>no", "?<a></think>", "", None),
        ("?<a>", "?<b>", "", None),
    ],
)
def test_what_stands_between_a_prompt_and_its_answer(prompt, begun, thought, between):
    assert thoughts["between"](prompt, begun, thought) == between


def test_a_switch_is_seen_to_be_off_as_a_training_turns_it_off():
    template = ChatTemplate(QWEN, "a template", None)
    assert thoughts["are_off"](template.with_thinking("off").text)
    assert not thoughts["are_off"](template.with_thinking("on").text)
    assert not thoughts["are_off"](QWEN)


def test_a_thought_in_the_text_is_read_as_one_and_written_back():
    answer = {"role": "assistant", "content": "<think>\nI count.\n</think>\n\n2"}
    read = thoughts["as_template_reads"]({**answer, "train": True})
    assert read == {"role": "assistant", "content": "2", "reasoning_content": "I count."}
    assert thoughts["as_text"](read) == answer
    asked = {**answer, "role": "user"}
    assert thoughts["as_template_reads"](asked) == asked


@pytest.mark.parametrize(
    ("prompt", "opened"), [("<think>\n", True), ("<think>\n\n</think>\n\n", False), ("<a>", False)]
)
def test_a_prompt_that_ends_within_a_thought_is_told(prompt, opened):
    assert thoughts["is_opened"](prompt) is opened
