"""Models without a chat template: seed 004's BLOOM and GPT-2 train by a shipped one, ChatGLM-6B is refused by name."""

import contextlib
import json
import subprocess

import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.launchers.training.prepare import prepare

# `python -c MAKE KIND FOLDER`: a tiny model of random weights, with a tokenizer of its own kind.
MAKE = """
import sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast,
                          PreTrainedTokenizerFast)
kind, folder = sys.argv[1:]
special = {"bloom": ["<unk>", "<s>", "</s>", "<pad>"], "gpt2": ["<|endoftext|>"]}[kind]
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False, vocab_size=400)
bpe.train_from_iterator(["What is aspirin for? It relieves pain."] * 2, trainer)
torch.manual_seed(0)
if kind == "bloom":
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    model = BloomForCausalLM(BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2, pad_token_id=3))
else:
    end = special[0]
    tokenizer = GPT2TokenizerFast(tokenizer_object=bpe, unk_token=end, bos_token=end, eos_token=end)
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=len(tokenizer), n_positions=1024, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0))
tokenizer.save_pretrained(folder)
model.save_pretrained(folder)
"""
READ = """
import json, sys
from datasets import load_from_disk
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
row = load_from_disk(sys.argv[2])[0]
print(json.dumps([tokenizer.decode(ids) for ids in (row["input_ids"], [each for each in row["labels"] if each >= 0])]))
"""
BLOOM_ALPACA = (
    "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nWhat is aspirin for?\n\n### Response:\nIt relieves pain.</s>\n\n"
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, training_python):
    """Return a project with the two models in it."""
    folder = tmp_path_factory.mktemp("plain models")
    row = json.dumps({"instruction": "What is aspirin for?", "output": "It relieves pain."}) + "\n"
    (folder / "faq.jsonl").write_text(row + row.replace("aspirin", "tea") * 7, "utf-8")
    with contextlib.chdir(folder):
        ftbridge.convert("faq.jsonl")
    for kind in ("bloom", "gpt2"):
        subprocess.run([training_python, "-c", MAKE, kind, folder / kind], check=True, capture_output=True)
    return folder


def trained(workplace, python, kind, template, backend, **options):
    """Train two steps and ask the exported adapter; returns the text of a sample, and what of it is trained."""
    with contextlib.chdir(workplace):
        asked = {
            "backend": backend, "model": kind, "dataset": "faq", "device": "cpu", "tokens": "once", "method": "lora",
            "chat_template": template, "lora_rank": 4, "max_steps": 2, "micro_batch_size": 4,
            "gradient_accumulation_steps": 1, "cutoff_length": 256, **options,
        }  # fmt: skip
        plan = prepare(**asked).plan
        run = ftbridge.train(**asked)
        assert run.status == "succeeded"
        ftbridge.chat(run.id, "What is aspirin for?", device="cpu")
        assert (ftbridge.merge(run.id) / "chat_template.jinja").read_text("utf-8") == plan.chat_template.text
    argv = [python, "-c", READ, workplace / kind, plan.tokens.folder]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


@pytest.mark.framework
def test_bloom_trains_by_a_shipped_template(workplace, training_python):
    told = trained(workplace, training_python, "bloom", "alpaca", "xtuner")
    assert told == [BLOOM_ALPACA, "It relieves pain.</s>"]


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
@pytest.mark.parametrize("template", ["plain", "alpaca"])
@pytest.mark.parametrize("kind", ["bloom", "gpt2"])
def test_models_without_a_template_train_by_shipped_ones_on_both(workplace, training_python, kind, template, backend):
    text, learned = trained(workplace, training_python, kind, template, backend)
    begin, end = ("<s>", "</s>") if kind == "bloom" else ("", "<|endoftext|>")
    assert text.startswith(begin + ("What is aspirin for?\n" if template == "plain" else "Below is an instruction"))
    assert learned == f"It relieves pain.{end}"


@pytest.mark.framework
@pytest.mark.parametrize("trust", [False, True])
def test_the_first_chatglm_is_refused_with_the_reason(workplace, trust):
    folder = workplace / "chatglm-6b"
    folder.mkdir(exist_ok=True)
    config = {
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
        "position_encoding_2d": True,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with (
        contextlib.chdir(workplace),
        pytest.raises(InputError, match=r"is ChatGLM-6B, which neither framework trains: .*two dimensions"),
    ):
        prepare(
            backend="xtuner", model="chatglm-6b", dataset="faq", device="cpu", tokens="once", chat_template="plain",
            trust_remote_code=trust,
        )  # fmt: skip
