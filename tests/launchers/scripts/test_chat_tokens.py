"""Which tokens of a conversation are trained, by templates with published ones' habits and by these themselves."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.tokens.chat_template import ChatTemplate
from tests.builders.chat_templates import CALLS, CASES, ONE, REFUSED, SYSTEM, THOUGHTS, THREE

PUBLISHED = Path(__file__).parents[4] / "shared/data/chat_templates"
TOKENIZERS = Path(__file__).parents[2] / "models" / "tokenizers.yaml"
# Reads {name: [template, end token, stops, messages, tools, begin token, special tokens]}, the last three if they are
# there, and says of each what its samples train.
SCRIPT = r"""
import json, re, sys
sys.path.insert(0, sys.argv[1])
from chat_tokens import IGNORED, ChatTemplate, OffsetsError, encode
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

def tokenizer_of(template, end, stops, bos, more):
    special = sorted({end, *stops, bos, *more, *re.findall(r"<[|\uff5c][^<>|\uff5c']+[|\uff5c]>", template)} - {""})
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

def told(template, end, stops, messages, tools=None, bos="", special=()):
    tokenizer = tokenizer_of(template, end, stops, bos, special)
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
    whole = [tokenizer.encode(sample.text + sample.closing, add_special_tokens=False) for sample in samples]
    for sample, ids, (found, _) in zip(samples, whole, encoded):
        asked = tokenizer.encode(sample.text[:sample.spans[0][0]], add_special_tokens=False)
        assert found[:len(asked)] == asked
        assert found == ids or ids[:len(asked)] != asked
    return {
        "trained": [trained(tokenizer, *each) for each in encoded],
        "spans": [[sample.text[start:end] for start, end in sample.spans] for sample in samples],
        "closing": [sample.closing for sample in samples],
        "prompts": prompts,
        "slow": slow(tokenizer, samples) == encoded,
    }

def slow(tokenizer, samples):
    try:
        return encode(Slow(tokenizer), samples)
    except OffsetsError:
        return None

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
    assert told[name]["slow"] or name.endswith(("before an answer", "before each answer"))


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
        said = answers_of(name, what, conversations[kind], tokens[template]["stops"])
        if kind in {"one", "three", "system"}:
            assert without_marks(said) == contents(conversations[kind]), name


@pytest.mark.framework
def test_templates_in_the_shape_of_published_ones_do_so_whatever_the_data_and_the_switch_say(training_python):
    kinds = yaml.safe_load(TOKENIZERS.read_text("utf-8"))["tokenizers"]
    conversations = {"one": ONE, "three": THREE, "system": [SYSTEM, *THREE], "thoughts": THOUGHTS, "tools": CALLS}
    conversations["some"] = [*THREE[:2], *THOUGHTS[:2], *THREE[2:4]]
    stops = {name: kind.get("stops", [kind["eos"]]) for name, kind in kinds.items()}
    cases, off = {}, set()
    for name, kind in kinds.items():
        own = ChatTemplate("".join(kind["chat_template"]), "its own", None)
        for switch in ("on", "off"):
            template = own.with_thinking(switch)
            off |= {name} if template.thinking == "off" else set()
            for what, messages in conversations.items():
                if what != "tools" or "tool_call" in template.text:
                    tools = WEATHER if what == "tools" else None
                    tokens = (kind["eos"], stops[name], messages, tools, kind.get("bos", ""), kind["special"])
                    cases[f"{name} {what} {switch}"] = (template.text, *tokens)
    for case, found in asked(training_python, cases).items():
        name, what, switch = case.split()
        said = answers_of(case, found, conversations[what], stops[name])
        if what != "tools":
            thoughts = switch == "on" or name not in off
            assert without_marks(said) == contents(conversations[what], thoughts=thoughts), case


def answers_of(name, found, messages, stops):
    """Return what is trained of each answer, without its stop token."""
    assert "error" not in found, (name, found)
    assert all(all(each) for each in found["prompts"]), name
    # A prompt that ends with a blank may share its last token with the answer.
    assert found["slow"] or name.startswith("ernie"), name
    answers = [text for sample in found["trained"] for text in sample]
    wanted = [message for message in messages if message["role"] == "assistant"]
    assert len(answers) == len(wanted), (name, answers)
    said = []
    for answer, message in zip(answers, wanted, strict=True):
        stop = max((s for s in stops if answer.endswith(s)), key=len, default="")
        assert stop, (name, answer)
        assert message["content"] in answer, (name, answer)
        said.append(answer.removesuffix(stop))
    return said


def without_marks(answers):
    marks = r"</?think>|<\|channel\|>|analysis|<\|message\|>|<\|end\|>|<\|start\|>assistant|<\|END_RESPONSE\|>|final|\s"
    return [re.sub(marks, "", answer) for answer in answers]


def contents(messages, *, thoughts=False):
    said = [
        (message.get("reasoning_content", "") if thoughts else "") + message["content"]
        for message in messages
        if message["role"] == "assistant"
    ]
    return [re.sub(r"\s", "", each) for each in said]
