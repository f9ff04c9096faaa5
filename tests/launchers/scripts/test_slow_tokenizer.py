"""Tokenizers that tell no offsets, as InternLM 2's: labels by the beginnings of the text."""

import json
import subprocess

import pytest

from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.process.script import SCRIPTS
from tests.builders.chat_templates import CHATML, ONE, SYSTEM, THREE, assistant, user

# Makes a tokenizer of sentencepiece's kind on the spot, and says what the samples of conversations train.
SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import sentencepiece
import transformers
from chat_tokens import IGNORED, ChatTemplate, encode
folder, name = Path(sys.argv[2]), sys.argv[3]
texts = ["What is aspirin for? It relieves pain.",
         "system user assistant relieves Because Why so it is zwei drei eins",
         "\\u4e3a\\u4ec0\\u4e48\\uff1f\\u56e0\\u4e3a \\U0001f600"] * 20
with (folder / "tokenizer.model").open("wb") as model:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=400,
        character_coverage=1.0, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        minloglevel=2, pad_id=3)
options = {"legacy": True} if name == "LlamaTokenizer" else {}
tokenizer = getattr(transformers, name)(str(folder / "tokenizer.model"), eos_token="<|im_end|>", **options)
tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
tokenizer.save_pretrained(folder)
tokenizer = getattr(transformers, name).from_pretrained(folder, use_fast=False)
assert not tokenizer.is_fast
for template, messages in json.load(sys.stdin):
    try:
        samples = encode(tokenizer, ChatTemplate(tokenizer, template, []).samples(messages))
    except ValueError as error:
        print("TOLD", json.dumps(str(error)))
        continue
    texts = []
    for ids, labels in samples:
        assert all(label in (token, IGNORED) for token, label in zip(ids, labels))
        places = [at for at, label in enumerate(labels) if label != IGNORED]
        starts = [at for at in places if at - 1 not in places]
        for start in starts:
            end = next((at for at in range(start, len(ids)) if labels[at] == IGNORED), len(ids))
            text = tokenizer.decode(ids[start:end], clean_up_tokenization_spaces=False).strip()
            texts.append(text.replace(" <|im", "<|im").replace("<0x0A>", "\\n"))
    print("TOLD", json.dumps(texts))
"""
JOINING = "{{ messages[0].content }} It relie{% if not add_generation_prompt %}{{ messages[1].content }}{% endif %}"
CASES = [
    (CHATML, ONE),
    (CHATML, [SYSTEM, *ONE]),
    (CHATML, THREE),
    (CHATML, [user("为什么？"), assistant("因为 😀  so\n\nit is.")]),
    (JOINING, [user("What?"), assistant("ves pain.")]),
]
EXPECTED = [
    ["Because.<|im_end|>"],
    ["Because.<|im_end|>"],
    ["eins<|im_end|>", "zwei<|im_end|>", "drei<|im_end|>"],
    ["因为 😀  so\n\nit is.<|im_end|>"],
    "the tokenizer tells no offsets, and joins tokens where an answer begins or ends; take `--tokens native`",
]


def told(python, folder, name):
    argv = [python, "-c", SCRIPT, SCRIPTS, folder, name]
    done = subprocess.run(argv, input=json.dumps(CASES), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("TOLD ")]


@pytest.mark.framework
def test_labels_of_a_tokenizer_without_offsets_cover_answers_and_stops(training_python, tmp_path):
    assert told(training_python, tmp_path, "BertGenerationTokenizer") == EXPECTED


@pytest.mark.framework
@pytest.mark.matrix
def test_labels_of_a_slow_tokenizer_in_the_older_environment(tmp_path):
    assert told(default_folder("transformers4") / "bin" / "python", tmp_path, "LlamaTokenizer") == EXPECTED
