"""Provoke failures in the training environment and write their tracebacks to the file that is named, by name."""

import json
import os
import socket
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = str(Path("cache").absolute())

import datasets
import peft
import torch
import transformers
from deepspeed.runtime.config import DeepSpeedConfig
from llamafactory.data.parser import get_dataset_list
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from mmengine.optim import LinearLR
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

SMALL = {
    "model_type": "qwen2",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 16,
}


class Custom:
    """What torch.load does not take unasked."""


def model(config=SMALL, **files):
    """Return a new folder of a model with these files."""
    folder = Path(f"model-{len(list(Path().glob('model-*')))}")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder)


def saved(value, cut=0):
    """Return a file of torch.save, its last `cut` bytes missing."""
    torch.save(value, "saved.pt")
    content = Path("saved.pt").read_bytes()
    Path("saved.pt").write_bytes(content[: len(content) - cut])
    return "saved.pt"


def rows(text):
    """Load JSON lines as both frameworks do."""
    Path("rows.jsonl").write_text(text)
    datasets.load_dataset("json", data_files="rows.jsonl")


def parts():
    """Load two files whose samples have other keys."""
    Path("one.jsonl").write_text('{"instruction": "a"}\n')
    Path("two.jsonl").write_text('{"question": "a"}\n')
    datasets.load_dataset("json", data_files=["one.jsonl", "two.jsonl"])


def safetensors(content):
    """Load a file of weights with this content."""
    from safetensors.torch import load_file

    Path("weights.safetensors").write_bytes(content)
    load_file("weights.safetensors")


def full_disk():
    """Write to a disk that is full."""
    Path("/dev/full").write_text("x" * 100_000)


def taken_port():
    """Listen where another listens already."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        torch.distributed.TCPStore("127.0.0.1", other.getsockname()[1], 2, is_master=True)


def other_optimizer():
    """Give an optimiser of one parameter the state of one of two."""
    one, two = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1)) for _ in range(count)]) for count in (1, 2))
    one.load_state_dict(two.state_dict())


def no_warmup():
    """Warm up for no step at all."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    LinearLR(optimizer, start_factor=0.1, begin=0, end=0)


def unknown_dataset():
    """Ask for a dataset that dataset_info.json lacks."""
    Path("dataset_info.json").write_text("{}")
    get_dataset_list(["faq"], ".")


def training(**options):
    """Have LLaMA-Factory check the options of a training."""
    wanted = {"model_name_or_path": "base", "output_dir": "out", "stage": "sft", "do_train": True, "dataset": "faq"}
    get_train_args({**wanted, "template": "qwen", "use_cpu": True, **options})


def quantised_full():
    """Train a model that claims to be quantised, without an adapter."""
    quantised = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SMALL))
    quantised.is_quantized, quantised.hf_quantizer = True, SimpleNamespace(is_trainable=True)
    transformers.Trainer(quantised, transformers.TrainingArguments("out", use_cpu=True, report_to=[]))


class WithoutFlash(transformers.Qwen2ForCausalLM):
    """A model that has no flash attention."""

    _supports_flash_attn = False


OWN = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
INDEX = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
FLASH = transformers.Qwen2Config(**SMALL, attn_implementation="flash_attention_2")
BROKEN = {"version": "1.0", "added_tokens": [], "model": {"type": "other"}}
BATCH = {"train_batch_size": 7, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2}
WANTED = SimpleNamespace(template="qwen9", train_on_prompt=False, tool_format=None, default_system=None)
CASES = {
    "attention-unsupported": [lambda: WithoutFlash(FLASH)],
    "checkpoint-pickle": [lambda: torch.load(saved(Custom()))],
    "dataset-empty": [lambda: rows("")],
    "dataset-json": [lambda: rows('{"a": 1\n')],
    "dataset-types": [lambda: rows('{"a": "b"}\n' * 3 + '{"a": 1}\n'), parts],
    "dataset-undefined": [unknown_dataset],
    "deepspeed-batch": [lambda: DeepSpeedConfig(BATCH)],
    "disk-full": [full_disk, lambda: torch.save(torch.zeros(10_000_000), "/dev/full")],
    "flash-attention-missing": [lambda: AutoModelForCausalLM.from_config(FLASH)],
    "host-memory": [lambda: torch.empty(10**14), lambda: bytes(10**15)],
    "lora-targets": [
        lambda: peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), peft.LoraConfig(target_modules=["q"]))
    ],
    "model-unknown": [
        lambda: AutoConfig.from_pretrained(model({"model_type": "qwen9"})),
        lambda: AutoConfig.from_pretrained(model({})),
    ],
    "no-gradient": [lambda: torch.zeros(1).sum().backward()],
    "option-unknown": [lambda: training(no_such_option=1)],
    "package-wrong": [lambda: __import__("no_such_package")],
    "port-in-use": [taken_port],
    "quantised-full": [quantised_full, lambda: training(finetuning_type="full", quantization_bit=4)],
    "remote-code": [lambda: AutoConfig.from_pretrained(model(OWN, own__py="1 / 0"), trust_remote_code=False)],
    "resume-optimizer": [other_optimizer],
    "shapes": [
        lambda: torch.zeros(2, 3) @ torch.zeros(4, 5),
        lambda: torch.zeros(2, 3) + torch.zeros(2, 5),
    ],
    "template-unknown": [lambda: get_template_and_fix_tokenizer(None, WANTED)],
    "tokenizer-damaged": [
        lambda: AutoTokenizer.from_pretrained(
            model(tokenizer_config__json={"tokenizer_class": "PreTrainedTokenizerFast"}, tokenizer__json=BROKEN)
        )
    ],
    "vocabulary": [lambda: torch.nn.Embedding(4, 2)(torch.tensor([9]))],
    "warmup-too-short": [no_warmup],
    "weights-damaged": [
        lambda: torch.load(saved(torch.zeros(100_000), cut=1000)),
        lambda: safetensors(b"\xff" * 100),
        lambda: safetensors(b""),
    ],
    "weights-missing": [
        lambda: AutoModelForCausalLM.from_pretrained(model()),
        lambda: AutoModelForCausalLM.from_pretrained(model(model__safetensors__index__json=INDEX)),
    ],
    "weights-shape": [lambda: torch.nn.Linear(3, 4).load_state_dict({"weight": torch.zeros(5, 3)}, strict=False)],
}


def provoke(case):
    """Return the traceback of a case; "" where it did not fail."""
    try:
        case()
    except Exception:  # noqa: BLE001 - any failure is what is wanted
        return traceback.format_exc()
    return ""


Path(sys.argv[1]).write_text(json.dumps({name: [provoke(case) for case in cases] for name, cases in CASES.items()}))
