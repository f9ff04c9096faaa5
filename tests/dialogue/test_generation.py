"""The child that generates, how its text comes, and how it fails."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import FrameworkError, InputError
from ftbridge.dialogue.generation import Generator, Sampling, _out_of_memory
from ftbridge.launchers.environment import HELPERS
from ftbridge.weights.sources import card_of, resolve

pytestmark = pytest.mark.framework

# Feeds an answer's tokens one by one, as transformers does, and prints the pieces that came after each.
STREAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from generate import Answer
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
found = []
for text, words in json.loads(sys.argv[3]):
    pieces = []
    answer = Answer(tokenizer, words, lambda record: pieces.append(record["text"]))
    answer.put(torch.tensor([[1, 2, 3]]))
    for token in tokenizer.encode(text):
        answer.put(torch.tensor([token]))
        if answer.stopped:
            break
    answer.end()
    found.append((pieces, answer.stopped))
print(json.dumps(found))
"""
TEXT = "Aspirin 阿司匹林は痛みを和らげる。👩‍⚕️ ยาแก้ปวด\n<b>"


def stream(python: Path, model: Path, *cases: tuple[str, list[str]]) -> list[tuple[list[str], bool]]:
    argv = [python, "-c", STREAM, HELPERS, model, msgspec.json.encode(cases)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=list[tuple[list[str], bool]])


def test_text_comes_letter_by_letter_and_ends_before_a_stop_word(project, training_python):
    free, stopped, nearly, at_once = stream(
        training_python,
        project / "base",
        (TEXT, []),
        (TEXT, ["</b>", "和らげる", "痛みを和らげる"]),
        (TEXT, ["<b>!", "<b>?"]),
        (TEXT, ["Aspirin"]),
    )
    assert ("".join(free[0]), free[1]) == (TEXT, False)
    assert len(free[0]) > len(TEXT) / 2
    assert ("".join(stopped[0]), stopped[1]) == ("Aspirin 阿司匹林は", True)
    assert ("".join(nearly[0]), nearly[0][-1], nearly[1]) == (TEXT, "<b>", False)
    assert at_once == ([], True)


def test_a_model_that_cannot_be_loaded_is_told_with_its_messages(trained, in_project, training_python, tmp_path):
    card = card_of(resolve(trained(backend="xtuner").id))
    (tmp_path / "config.json").write_text("{}")
    generator = Generator(training_python, card, tmp_path, None, ())
    with pytest.raises(FrameworkError, match="could not be loaded"), generator:
        pass


def test_a_prompt_of_another_family_and_a_child_that_dies(in_project, training_python):
    card = card_of(resolve("base"), template="qwen2.5")
    other = card_of(resolve("base"), template="glm4")
    with Generator(training_python, card, in_project / "base", None, ()) as generator:
        generator.card = other
        with pytest.raises(InputError, match=r"the tokenizer has no `\[gMASK\]`: this is the prompt of another"):
            list(generator.ask([("?", None)], "", (), Sampling()))
        generator.card = card
        assert "".join(generator.ask([("?", None)], "", (), Sampling(max_new_tokens=3)))
        generator._child.kill()
        with pytest.raises(FrameworkError, match="its process was killed, as happens where memory runs out; take"):
            list(generator.ask([("?", None)], "", (), Sampling()))


def test_torch_says_so_where_memory_runs_out(training_python):
    done = subprocess.run(
        [training_python, "-c", "import torch; torch.empty(10**15)"], capture_output=True, text=True, check=False
    )
    assert _out_of_memory(done.stderr)
