"""Which tokens of a conversation are trained, by templates with published ones' habits and by these themselves."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from ftbridge.launchers.process.script import SCRIPTS
from tests.builders.chat_templates import CALLS, CASES, ONE, REFUSED, SYSTEM, THOUGHTS, THREE

PUBLISHED = Path(__file__).parents[4] / "shared/data/chat_templates"
# Reads {name: [template, end token, stops, messages, tools]} and says of each what its samples train.
SCRIPT = r"""
import json, re, sys
sys.path.insert(0, sys.argv[1])
from chat_tokens import IGNORED, ChatTemplate, encode
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

def tokenizer_of(template, end, stops, bos=""):
    special = sorted({end, *stops, bos, *re.findall(r"<[|\uff5c][^<>|\uff5c']+[|\uff5c]>", template)} - {""})
    model = Tokenizer(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(["a question: zwei"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token=end, **({"bos_token": bos} if bos else {}))

def trained(tokenizer, ids, labels):
    texts, before = [], False
    for token, label in zip(ids, labels):
        assert label in (token, IGNORED)
        if label != IGNORED:
            texts = texts if before else [*texts, []]
            texts[-1].append(token)
        before = label != IGNORED
    return [tokenizer.decode(each) for each in texts]

class Slow:
    '''The same tokenizer, as one that tells no offsets.'''
    is_fast = False
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

def told(template, end, stops, messages, tools=None, bos=""):
    tokenizer = tokenizer_of(template, end, stops, bos)
    chat = ChatTemplate(tokenizer, template, stops)
    try:
        samples = chat.samples(messages, tools)
    except ValueError as error:
        return {"error": str(error)}
    plain = [{key: value for key, value in message.items() if key != "train"} for message in messages]
    prompts = [
        [chat.render(plain[:number], tools, prompt=True) == sample.text[:start]
         for number, (start, _) in zip(sample.answers, sample.spans)]
        for sample in samples
    ]
    encoded = encode(tokenizer, samples)
    assert [ids for ids, _ in encoded] == [
        tokenizer.encode(sample.text + sample.closing, add_special_tokens=False) for sample in samples]
    return {
        "trained": [trained(tokenizer, *each) for each in encoded],
        "spans": [[sample.text[start:end] for start, end in sample.spans] for sample in samples],
        "closing": [sample.closing for sample in samples],
        "prompts": prompts,
        "slow": encode(Slow(tokenizer), samples) == encoded,
    }

print(json.dumps({name: told(*case) for name, case in json.load(sys.stdin).items()}))
"""
WEATHER = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "?",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "?"}},
                "required": ["city"],
            },
        },
    }
]


def asked(python, cases):
    done = subprocess.run(
        [python, "-c", SCRIPT, SCRIPTS], input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def told(training_python):
    made = {name: case[:4] for name, case in CASES.items()}
    refused = {f"that {name}": (template, "<|end|>", [], messages) for name, (template, messages, _) in REFUSED.items()}
    return asked(training_python, {**made, **refused})


@pytest.mark.framework
@pytest.mark.parametrize("name", CASES)
def test_answers_and_their_stop_tokens_are_trained_and_nothing_else(told, name):
    assert told[name].get("trained") == CASES[name][4], told[name]


@pytest.mark.framework
@pytest.mark.parametrize("name", CASES)
def test_each_answer_is_trained_behind_the_prompt_that_asks_for_it(told, name):
    assert all(all(each) for each in told[name]["prompts"])


@pytest.mark.framework
@pytest.mark.parametrize("name", CASES)
def test_a_tokenizer_without_offsets_gives_the_same_labels(told, name):
    assert told[name]["slow"]


@pytest.mark.framework
@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_is_no_good_for_the_conversation_is_refused(told, name):
    assert told[f"that {name}"] == {"error": REFUSED[name][2]}


@pytest.mark.framework
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published templates are not here")
def test_published_templates_train_answers_and_stops_behind_their_own_prompts(training_python):
    tokens = json.loads((PUBLISHED / "tokens.json").read_text("utf-8"))
    conversations = {"one": ONE, "three": THREE, "system": [SYSTEM, *ONE], "thoughts": THOUGHTS, "tools": CALLS}
    cases = {}
    for name, known in tokens.items():
        text = (PUBLISHED / f"{name}.jinja").read_text("utf-8")
        for kind, messages in conversations.items():
            head = f"{{% set enable_thinking = {str(kind == 'thoughts').lower()} %}}"
            tools = WEATHER if kind == "tools" else None
            cases[f"{name} {kind}"] = (
                head + text,
                known["eos_token"],
                known["stops"],
                messages,
                tools,
                known["bos_token"],
            )
    found = asked(training_python, cases)
    for name, what in found.items():
        template, kind = name.split()
        if "error" in what:
            # Templates of models without a system role or tools.
            assert kind in {"system", "tools"}, (name, what)
            assert (template, kind) == ("gemma", "system") or kind == "tools", (name, what)
            continue
        assert all(all(each) for each in what["prompts"]), name
        assert what["slow"], name
        answers = [text for sample in what["trained"] for text in sample]
        wanted = [message for message in conversations[kind] if message["role"] == "assistant"]
        assert len(answers) == len(wanted), (name, answers)
        for answer, message in zip(answers, wanted, strict=True):
            stop = max((s for s in tokens[template]["stops"] if answer.endswith(s)), key=len, default="")
            assert stop, (name, answer)
            said = answer.removesuffix(stop)
            assert message["content"] in said, (name, answer)
            rest = re.sub(r"<think>|</think>|<\|channel\|>|<\|message\|>|<\|END_RESPONSE\|>|final|\s", "", said)
            if kind in {"one", "three", "system"}:
                assert rest == re.sub(r"\s", "", message["content"]), (name, answer)
