"""A small project with a file of each kind that is read; all of it is made here."""

import gzip
import io
import json
import os
import struct
from math import prod

import msgspec
import pyarrow as pa
import zstandard
from pyarrow import parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ftbridge.templates.families import load_families
from ftbridge.weights.card import ModelCard

from ..builders.environments import make_environment  # noqa: TID252
from ..builders.torch_files import floats, save, tensor  # noqa: TID252
from . import workbooks

TEXTS = ["What is aspirin for?", "阿司匹林？", "Why?", "How so?", "Who?"]
ROWS = [{"question": text, "answer": f"An answer, {number}.", "n": number} for number, text in enumerate(TEXTS)]
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LAYER = "model.layers.0.self_attn.q_proj"
LORA = {f"base_model.model.{LAYER}.lora_A.weight": (2, 8), f"base_model.model.{LAYER}.lora_B.weight": (8, 2)}
SHARD = "model-00001-of-00001.safetensors"
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make(box):
    """Make the project in the folder `box`, beside a folder that no command may touch; returns the project."""
    project, python = box / "project", make_environment(box / "environment")
    python.write_text("#!/bin/sh\nexit 1\n")  # what is read is read before the frameworks come in
    put(box / "outside" / "written", "as it was")
    backends = {name: {"python": str(python)} for name in ("xtuner", "llamafactory")}
    put(project / "ftbridge.yaml", {"epochs": 1, "lora_rank": 8, "backends": backends})
    _model(project / "base")
    _adapters(project)
    for name in ("one", "two"):
        _run(project / "runs" / name, project / "base")
    put(project / "labels.yaml", {"An answer, 0.": "pain", "An answer, 1.": "because"})
    put(project / "ds.json", {"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}, "steps_per_print": 5})
    _sources(project / "sources")
    _folders(project)
    return project


def put(path, content):
    """Write bytes, text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, (bytes, str)) else json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _safetensors(shapes, dtype, width):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = at + prod(shape) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def _model(folder):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8, special_tokens=SPECIAL, show_progress=False)
    bpe.train_from_iterator(["aspirin"], trainer)
    put(folder / "tokenizer.json", bpe.to_str())
    size = bpe.get_vocab_size()
    attention = {f"{LAYER[:-6]}{part}_proj.weight": (8, 8) for part in "qkvo"}
    mlp = {f"model.layers.0.mlp.{part}_proj.weight": (8, 8) for part in ("gate", "up", "down")}
    shapes = {"model.embed_tokens.weight": (size, 8), **attention, **mlp, "lm_head.weight": (size, 8)}
    put(folder / SHARD, _safetensors(shapes, "BF16", 2))
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(shapes, SHARD)}
    put(folder / "model.safetensors.index.json", index)
    numbers = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    numbers |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": size, "eos_token_id": 2}
    numbers |= {"moe_intermediate_size": 0, "num_experts_per_tok": 0, "sliding_window": None}
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16", **numbers}
    config |= {"rope_parameters": rope, "layer_types": ["full_attention"], "text_config": {"hidden_size": 8}}
    put(folder / "config.json", {**config, "tie_word_embeddings": False})
    tokens = {str(at): {"content": token, "special": True} for at, token in enumerate(SPECIAL)}
    named = {"eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"}, "added_tokens_decoder": tokens}
    named |= {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": {}, "model_max_length": 64}
    templates = [{"name": "default", "template": "{{ messages[0].content }}"}]
    put(folder / "tokenizer_config.json", {**named, "chat_template": templates})
    put(folder / "added_tokens.json", {token: at for at, token in enumerate(SPECIAL)})
    put(folder / "generation_config.json", {"eos_token_id": [2, 0], "pad_token_id": 0})
    put(folder / "chat_template.jinja", TEMPLATE)


def _adapters(project):
    """Make an adapter, one of torch's own format, and the checkpoint that both could be of."""
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"q_proj": 8}, "rank_pattern": {}}
    config |= {"target_modules": ["q_proj"], "base_model_name_or_path": "base", "use_rslora": False}
    for name in ("adapter", "old"):
        put(project / name / "adapter_config.json", config)
    put(project / "adapter" / "adapter_model.safetensors", _safetensors(LORA, "F32", 4))
    template = msgspec.to_builtins(load_families()["qwen2"].cell("xtuner").prompt)
    names = {"base": str(project / "base"), "family": "qwen2", "backend": "xtuner", "system": "S", "thinking": "none"}
    put(project / "adapter" / "ftbridge.json", msgspec.json.encode(ModelCard(**names, template=template)))
    numbers = {"_0": floats(*range(16)), "_1": floats(*range(16))}
    held = {name: tensor(shape, key=str(key)) for key, (name, shape) in enumerate(LORA.items())}
    save(project / "old" / "adapter_model.bin", held, **numbers)
    held = {f"llm.{name.replace('.weight', '.default.weight')}": each for name, each in held.items()}
    content = {"state_dict": held, "meta": {"cfg": "lora=dict(lora_alpha=8)"}}
    save(project / "runs" / "one" / "output" / "iter_1.pth", content, **numbers)


def _run(folder, base):
    spec = {"backend": "xtuner", "model": "base", "dataset": "faq", "lora_alpha": 32, "lora_targets": ["q_proj"]}
    attempt = {"started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:05:05Z", "exit_code": 0}
    run = {"id": folder.name, "folder": str(folder), "status": "succeeded", "spec": spec, "model": str(base)}
    run |= {"launch": {"argv": ["python"], "env": {}, "cwd": "", "files": {}}, "family": "qwen2", "system": "说中文"}
    run |= {"samples": 5, "steps": 3, "versions": {"torch": "2.8.0"}, "environment": "transformers5"}
    run |= {"datasets": {"faq.jsonl": "ab" * 32}, "attempts": [attempt], "pid": os.getpid(), "pid_started": 1}
    put(folder / "run.json", {**run, "checkpoints": {"output/iter_1.pth": "ab" * 32}})
    record = {"attempt": 1, "loss": 1.5, "learning_rate": 1e-3, "epoch": 0.5, "time": 1.0, "validation_loss": 2}
    put(folder / "metrics.jsonl", "".join(json.dumps({"step": step, **record}) + "\n" for step in (1, 2, 3)))
    put(folder / "log.txt", "a line\n")


def _sources(folder):
    lines = [[*ROWS[0]], *([*map(str, row.values())] for row in ROWS)]
    lines = [[f'"{cell}"' for cell in line] for line in lines]
    table = "".join(f"{','.join(line)}\n" for line in lines)
    objects = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    put(folder / "faq.csv", table)
    put(folder / "faq.tsv", "".join("\t".join(line) + "\n" for line in lines))
    put(folder / "faq.json", {"data": [{"messages": TURNS}] * 2})
    put(folder / "faq.jsonl", objects)
    put(folder / "faq.csv.gz", gzip.compress(table.encode()))
    put(folder / "faq.jsonl.zst", zstandard.ZstdCompressor().compress(objects.encode()))
    made = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([{**row, "list": [1], "at": {"a": None}} for row in ROWS]), made)
    put(folder / "faq.parquet", made.getvalue())
    put(folder / "faq.arrow", _arrow())
    workbooks.write(folder, [[*ROWS[0]], *([*row.values()] for row in ROWS)])


def _folders(project):
    """Make a dataset's repository, and a dataset that `datasets` has saved."""
    features = [{"name": "n", "dtype": {"class_label": {"names": {str(label): f"no {label}" for label in range(5)}}}}]
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": "*.csv"}]}]
    card = json.dumps({"configs": configs, "dataset_info": {"features": features}})
    put(project / "repository" / "README.md", f"---\n{card}\n---\n")
    put(project / "repository" / "faq.csv", (project / "sources" / "faq.csv").read_bytes())
    shard = "data-00000-of-00001.arrow"
    put(project / "saved" / "state.json", {"_data_files": [{"filename": shard}], "_split": "train"})
    kept = {"question": {"dtype": "string", "_type": "Value"}, "n": {"names": ["a"] * 5, "_type": "ClassLabel"}}
    put(project / "saved" / "dataset_info.json", {"features": kept, "description": ""})
    put(project / "saved" / shard, _arrow())


def _arrow():
    table = pa.Table.from_pylist(ROWS)
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return made.getvalue()
