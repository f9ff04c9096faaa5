"""A server that renders the merged folder's chat template asks as the training did, and gets its answers."""

import contextlib
import json
import os
import subprocess

import pytest

import ftbridge
from ftbridge.dialogue.chat import chat_sessions
from ftbridge.dialogue.generation import Sampling
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.process.script import CHILD_ENV
from tests.builders.chat_templates import DEFAULT_SYSTEM, GLM

ANSWERS = {
    "What is aspirin for?": "It relieves pain.",
    "How long does a cold last?": "About a week.",
    "Is tea good for a cough?": "Yes, it soothes.",
    "What does insulin do?": "It lowers sugar.",
    "Where is the liver?": "On the right.",
    "How many lungs are there?": "Two of them.",
    "What carries oxygen?": "Red cells do.",
    "Which vitamin has a lemon?": "Vitamin C.",
}
# Template, end token, and the tokens at which generation ends besides.
BASES = {
    "qwen": (DEFAULT_SYSTEM, "<|im_end|>", []),
    "glm": (GLM, "<|endoftext|>", ["<|user|>"]),
    "qwen base": (DEFAULT_SYSTEM, "<|endoftext|>", []),  # its answers end at another token than it generates up to
}
# Without a name it takes the folder's template apart, and stops at the tokenizer's end token alone.
LLAMAFACTORY_OPTIONS = {"qwen": {}, "glm": {"template": "glm4"}}
SPECIAL = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|im_start|>", "<|im_end|>"]
# Gives a model another chat template with its tokens.
RENAME = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, spec = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.add_special_tokens({"additional_special_tokens": spec["special"]})
tokenizer.eos_token, tokenizer.chat_template = spec["eos"], spec["template"]
model = AutoModelForCausalLM.from_pretrained(folder)
model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
torch.manual_seed(0)
torch.nn.init.normal_(model.lm_head.weight, std=0.06)  # new tokens are told apart
ends = tokenizer.convert_tokens_to_ids([spec["eos"], *spec["stops"]])
model.generation_config.eos_token_id = ends
model.config.eos_token_id = ends[0]
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
"""
# Prints, of each question, the ids that are asked with and the answer.
TRANSFORMERS = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="float32")
for question in json.loads(sys.argv[2]):
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    ids = asked["input_ids"][0].tolist()
    out = model.generate(**asked, max_new_tokens=24, do_sample=False)[0].tolist()
    print("ASKED", json.dumps([ids, tokenizer.decode(out[len(ids):], skip_special_tokens=True).strip()]))
"""
LLAMAFACTORY = """
import json, sys
from llamafactory.chat import ChatModel
from llamafactory.chat.hf_engine import HuggingfaceEngine
asked, made = [], HuggingfaceEngine._process_args
def spied(*arguments, **named):
    found = made(*arguments, **named)
    asked.append(found[0]["inputs"][0].tolist())
    return found
HuggingfaceEngine._process_args = staticmethod(spied)
chat = ChatModel({"model_name_or_path": sys.argv[1], "infer_dtype": "float32", "do_sample": False, "max_new_tokens": 24,
                  **json.loads(sys.argv[3])})
for question in json.loads(sys.argv[2]):
    (answer,) = chat.chat([{"role": "user", "content": question}])
    print("ASKED", json.dumps([asked.pop(), answer.response_text.strip()]))
"""
TRAINED = """
import json, sys
from datasets import load_from_disk
for row in load_from_disk(sys.argv[1]):
    print("ASKED", json.dumps(row["input_ids"][:next(at for at, each in enumerate(row["labels"]) if each >= 0)]))
"""


@pytest.fixture(scope="module")
def python(training_python):
    """Return what runs Python text in the training environment, and returns what it says of each question."""

    def run(text, *arguments):
        argv = [training_python, "-c", text, *map(str, arguments)]
        env = {**os.environ, **CHILD_ENV, "HF_HUB_OFFLINE": "1", "USE_MODELSCOPE_HUB": "0"}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("ASKED ")]

    return run


def served(folder, python, training_python, kind, backend, method="lora"):
    """Train a model on eight questions; returns the merged folder, what chat answers, and the prompts of the tokens."""
    template, eos, stops = BASES[kind]
    lines = [json.dumps({"instruction": question, "output": answer}) for question, answer in ANSWERS.items()]
    (folder / "faq.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    with contextlib.chdir(folder):
        ftbridge.convert("faq.jsonl")
        base_model(folder / "base", training_python, lines, hidden=64, layers=2)
        spec = {"template": template, "eos": eos, "stops": stops, "special": SPECIAL}
        python(RENAME, folder / "base", json.dumps(spec))
        adapter = {"lora_rank": 32, "lora_alpha": 64, "lora_dropout": 0.0} if method == "lora" else {}
        run = ftbridge.train(
            backend=backend, model="base", dataset="faq", device="cpu", tokens="once", method=method, **adapter,
            learning_rate=5e-3, micro_batch_size=8, gradient_accumulation_steps=1, max_steps=250,
            gradient_checkpointing=False,
        )  # fmt: skip
        merged = ftbridge.merge(run.id)
        with chat_sessions(merged, device="cpu", sampling=Sampling(max_new_tokens=24)) as (talk,):
            answers = []
            for question in ANSWERS:
                talk.reset()
                answers.append("".join(talk.say(question)).strip())
        (tokens,) = (place for place in (folder / ".ftbridge" / "tokens").iterdir() if place.is_dir())
    return merged, answers, python(TRAINED, tokens)


def check_served(folder, python, training_python, kind, backend):
    merged, answers, prompts = served(folder, python, training_python, kind, backend)
    assert sum(map(str.__eq__, answers, ANSWERS.values())) >= 6
    questions = json.dumps([*ANSWERS])
    wanted = [[ids, answer] for ids, answer in zip(prompts, answers, strict=True)]
    assert python(TRANSFORMERS, merged, questions) == wanted
    assert python(LLAMAFACTORY, merged, questions, json.dumps(LLAMAFACTORY_OPTIONS[kind])) == wanted


@pytest.mark.framework
@pytest.mark.parametrize(("kind", "backend"), [("qwen", "xtuner"), ("glm", "llamafactory")])
def test_servers_ask_as_the_training_did_and_answer_alike(tmp_path, python, training_python, kind, backend):
    check_served(tmp_path, python, training_python, kind, backend)


@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_whose_base_ends_otherwise_stops_where_its_training_did(
    tmp_path, python, training_python, backend, method
):
    merged, answers, prompts = served(tmp_path, python, training_python, "qwen base", backend, method)
    assert sum(map(str.__eq__, answers, ANSWERS.values())) >= 6
    found = python(TRANSFORMERS, merged, json.dumps([*ANSWERS]))
    assert found == [[ids, answer] for ids, answer in zip(prompts, answers, strict=True)]
