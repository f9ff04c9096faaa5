"""A conversation as the text and the tokens of a prompt, and as the chat template that renders the same."""

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ftbridge.templates.families import get_family, load_families
from ftbridge.templates.prompt import ChatPrompt, Token

from ..builders.prompts import SYSTEM, TURNS  # noqa: TID252


@pytest.mark.parametrize(
    ("name", "backend"), [(n, b) for n, each in load_families().items() for b, cell in each.backends.items() if cell]
)
@pytest.mark.parametrize("system", ["", SYSTEM, 'say "{{ 7 }}" \\n'])
def test_the_chat_template_renders_what_is_trained(name, backend, system):
    prompt = get_family(name).cell(backend).prompt
    turns = [*TURNS, ("{input} \\n 'and' {% more", None)]
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages += [{"role": "assistant", "content": answer}] if answer is not None else []
    # As transformers sets it up.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = environment.from_string(prompt.chat_template()).render(messages=messages, add_generation_prompt=True)
    assert shown == prompt.render(system, turns)


def test_prompt_of_several_turns_renders_as_its_segments():
    prompt = get_family("llama2").cell("llamafactory").prompt
    assert prompt.segments("Be kind.", [("q", "a"), ("r", None)]) == [
        Token("<s>"),
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nq [/INST]",
        "a",
        Token("</s>"),
        Token("<s>"),
        "[INST] r [/INST]",
    ]
    rendered = prompt.render("", [("q {input} {0}", "a"), ("r", None)])
    assert rendered == "<s>[INST] q {input} {0} [/INST]a</s><s>[INST] r [/INST]"


def test_round_of_a_prompt_template_is_counted_from_one():
    prompt = ChatPrompt(system="{system}", instruction="[Round {round}] {input}:", suffix_as_eos=True, sep="\n")
    assert prompt.render("", [("q", "a"), ("r", None)]) == "[Round 1] q:a\n[Round 2] r:"
