"""Ids and labels by the words of a text: those of the tokenizer itself, whatever stands in the text."""

import json
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

# Makes tokenizers of published kinds, and compares what is encoded by words with what they encode themselves.
SCRIPT = r"""
import json, random, sys, unicodedata
sys.path.insert(0, sys.argv[1])
from chat_tokens import Sample, encode
from word_tokens import WordTokens
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CONTRACTED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{REST}"
LLAMA = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTED}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTED}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{REST}"
)

def tokenizer_of(split, normalizer=None, added=("<s>", "</s>", "</s><s>"), byte_level=None, **kind):
    model = Tokenizer(models.BPE())
    byte_level = byte_level or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    steps = [pre_tokenizers.Split(Regex(split), "isolated")] if split else []
    model.pre_tokenizer = pre_tokenizers.Sequence([*steps, byte_level]) if steps else byte_level
    if normalizer:
        model.normalizer = normalizer
    model.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(["It's the man's answer:  we'll see    12345 \n\n", "\u4e3a\u4ec0\u4e48"] * 9, trainer)
    model.add_tokens([AddedToken(each, **{"normalized": False, **kind}) for each in added])
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>")

made = {
    "GPT-2": tokenizer_of(None),
    "Qwen 2": tokenizer_of(QWEN, normalizers.NFC()),
    "Llama 3": tokenizer_of(LLAMA),
    "gpt-oss": tokenizer_of(O200K),
    "other pattern": tokenizer_of(r"[a-z&&[^b]]+|\s+"),
    "possessive": tokenizer_of(r"\p{L}++|\s+"),
    "part of the text": tokenizer_of(r"\p{L}+"),
    "lowercase": tokenizer_of(QWEN, normalizers.Lowercase()),
    "strips": tokenizer_of(QWEN, rstrip=True),
    "prefix": tokenizer_of(None, byte_level=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "no words": tokenizer_of(None, byte_level=pre_tokenizers.Metaspace()),
}
draw = random.Random(int(sys.argv[2]))
# What reads a letter otherwise has most often been one of these.
odd = ["\x1c", "\x85", "\xa0", "\u1680", "\u180e", "\u200b", "\u2028", "\u3000", "\u017f", "\u212a", "\xdf", "\u0130",
       "e\u0301", "\u0345", "\u1ac0", "\ufeff", "\U0001f600", "\U0001f468\u200d\U0001f469", "\u0660", "\xb2", "\u2167",
       "\u01c5", "\u02b0", "\U00010d4a", "\U000113d1", "\U00016d63", "\U00016d67", "\u0378", "\x00", "\U0010ffff"]
plain = ["a", "Z", "s", "7", "12345", ".", "'", "'s", "'LL", " ", "  ", "\t", "\n", "\r\n", "/", "-", "\u7684", "\xe9",
         "_", "<s>", "</s>", "</s><s>", "<", "we", " man"]

def text():
    letters = [*plain, *plain, *draw.sample(odd, 1), *draw.sample(odd, 1)] if draw.random() < 0.3 else plain
    return "".join(draw.choices(letters, k=draw.randint(1, 30)))

def sample():
    parts = ["<s>", text(), "<s>", text(), "</s>", text()]
    ends = [sum(map(len, parts[: at + 1])) for at in range(len(parts))]
    start, end = (ends[2], ends[4]) if draw.random() < 0.7 else sorted(draw.sample(range(ends[-1]), 2))
    return Sample("".join(parts), ((start, end),), (1,), draw.choice(["", "</s>"]))

told = {}
for name, tokenizer in made.items():
    words = WordTokens.of(tokenizer)
    if not words:
        told[name] = None
        continue
    samples = [sample() for _ in range(1500)]
    found = [each for at in range(0, 1500, 50) for each in words.encode(samples[at : at + 50])]
    wanted = encode(tokenizer, samples)
    known = [(*map(list, each), wanted[at]) for at, each in enumerate(found) if each]
    told[name] = {
        "known": len(known),
        "wrong": [samples[at].text for at, each in enumerate(found) if each and
                  (each[0].tolist(), each[1].tolist()) != wanted[at]][:3],
        "ids": all(ids == tokenizer.encode(each.text + each.closing, add_special_tokens=False)
                   for each, (ids, _) in zip(samples, wanted)),
        "kept": len(words.ids),
    }
print(json.dumps(told))
"""
READ = ("GPT-2", "Qwen 2", "Llama 3", "gpt-oss")


@pytest.fixture(scope="module")
def told(training_python):
    done = subprocess.run([training_python, "-c", SCRIPT, SCRIPTS, "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.framework
@pytest.mark.parametrize("name", READ)
def test_ids_and_labels_by_words_are_those_of_the_tokenizer(told, name):
    assert told[name]["wrong"] == []
    assert told[name]["ids"]
    assert told[name]["known"] > 900, "most samples are left to the tokenizer"


@pytest.mark.framework
@pytest.mark.parametrize("name", ["other pattern", "possessive", "lowercase", "strips", "prefix", "no words"])
def test_a_tokenizer_whose_words_are_found_otherwise_is_left_to_itself(told, name):
    assert told[name] is None


@pytest.mark.framework
def test_a_pattern_that_leaves_letters_between_words_is_left_to_the_tokenizer(told):
    assert told["part of the text"]["wrong"] == []
