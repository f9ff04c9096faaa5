"""What docs/tokens.svg shows: the text that a chat template writes, and of it what a training learns."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest

from ftbridge.launchers.process.script import SCRIPTS
from tests.tokens import picture

PUBLISHED = Path(__file__).parents[3] / "shared/data/chat_templates"
# Reads [[template, begin token, stop token, messages]], and says of each the text and what is learned of it.
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from chat_tokens import ChatTemplate
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

def told(template, begin, stop, messages):
    special = {"eos_token": stop, **({"bos_token": begin} if begin else {})}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **special)
    (sample,) = ChatTemplate(tokenizer, template, []).samples(messages)
    return sample.text, "".join(sample.text[start:end] for start, end in sample.spans)

print(json.dumps([told(*each) for each in json.load(sys.stdin)]))
"""


def drawn():
    """Return the text of each conversation in the picture, and what is marked of it as learned."""
    found = []
    for group in re.findall(r'<g class="conversation">(.*?)</g>', picture.SVG.read_text("utf-8"), re.DOTALL):
        pieces = re.findall(r'<text class="([^"]*)"[^>]*>([^<]*)</text>', group)
        texts = ["".join(text for _, text in pieces), "".join(text for kind, text in pieces if "learned" in kind)]
        found.append([unescape(text).replace(picture.NEWLINE, "\n") for text in texts])
    return found


def test_the_picture_and_its_text_are_as_they_are_made():
    assert picture.SVG.read_text("utf-8") == picture.as_svg()
    assert picture.as_text() in picture.PAGE.read_text("utf-8")


def learned(python, templates):
    cases = [
        [template, model.bos, model.stop, messages]
        for messages in picture.ROWS.values()
        for template, model in zip(templates, picture.MODELS.values(), strict=True)
    ]
    argv = [python, "-c", SCRIPT, SCRIPTS]
    done = subprocess.run(argv, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.framework
def test_the_picture_shows_what_a_training_learns(training_python):
    assert drawn() == learned(training_python, [model.template for model in picture.MODELS.values()])


@pytest.mark.framework
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published templates are not here")
def test_the_picture_shows_what_the_published_templates_write(training_python):
    names = ("qwen2_5", "llama3", "gemma3")
    assert drawn() == learned(training_python, [(PUBLISHED / f"{name}.jinja").read_text("utf-8") for name in names])
