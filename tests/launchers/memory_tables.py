"""The tables of docs/memory.md and of both READMEs, made from the estimate; the test compares them.

`.venv/bin/python -m tests.launchers.memory_tables` writes them anew where they stand.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.files import write_atomic
from ftbridge.core.records import DatasetEntry
from ftbridge.core.spec import TrainSpec
from ftbridge.launchers.estimate import Memory, Shape, estimate
from ftbridge.launchers.machine import GIB, Machine
from ftbridge.launchers.plan import Plan, load_deepspeed
from ftbridge.templates import families

ROOT = Path(__file__).parents[2]
DOC, READMES = ROOT / "docs" / "memory.md", (ROOT / "README.md", ROOT / "README.zh-CN.md")
GB = 1000**3
CARDS = (8, 16, 24, 48, 80)
# config.json of Qwen/Qwen2.5-*: hidden size, layers, intermediate size, heads, key-value heads, vocabulary, and whether
# the output layer is the embedding.
QWEN = {
    "0.5B": (896, 24, 4864, 14, 2, 151936, True),
    "1.5B": (1536, 28, 8960, 12, 2, 151936, True),
    "3B": (2048, 36, 11008, 16, 2, 151936, True),
    "7B": (3584, 28, 18944, 28, 4, 152064, False),
    "14B": (5120, 48, 13824, 40, 8, 152064, False),
    "32B": (5120, 64, 27648, 40, 8, 152064, False),
    "72B": (8192, 80, 29568, 64, 8, 152064, False),
}
METHODS = [(method, backend) for method in ("qlora", "lora", "full") for backend in ("xtuner", "llamafactory")]
# Beside the published GB of a GPU: the model, its training, the processes, and why ours is another number.
PUBLISHED: dict[str, tuple[float, str, dict[str, Any], int, str]] = {
    "LLaMA-Factory: QLoRA in 4 bits, 7B": (
        6, "7B", {"lora_rank": 8, "cutoff_length": 512}, 1,
        "theirs is for a model of 6.7 billion values and a vocabulary of 32,000, ours has 7.6 and 152,064: the embedding "
        "and the output layer, in 16 bits, and the logits",
    ),
}  # fmt: skip


def config(size: str) -> dict[str, Any]:
    """Return what of Qwen2.5's config.json the estimate reads."""
    hidden, layers, intermediate, heads, key_values, vocabulary, _ = QWEN[size]
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": key_values,
        "vocab_size": vocabulary,
        "torch_dtype": "bfloat16",
    }


@cache
def shapes(size: str) -> dict[str, Shape]:
    """Return the shapes of Qwen2.5's tensors by name."""
    hidden, layers, intermediate, heads, key_values, vocabulary, tied = QWEN[size]
    narrow = hidden * key_values // heads
    found: dict[str, Shape] = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for number in range(layers):
        layer = f"model.layers.{number}."
        for name, rows in (("q", hidden), ("k", narrow), ("v", narrow)):
            found[f"{layer}self_attn.{name}_proj.weight"] = (rows, hidden)
            found[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        found[f"{layer}self_attn.o_proj.weight"] = (hidden, hidden)
        found[f"{layer}mlp.gate_proj.weight"] = found[f"{layer}mlp.up_proj.weight"] = (intermediate, hidden)
        found[f"{layer}mlp.down_proj.weight"] = (hidden, intermediate)
        found[f"{layer}input_layernorm.weight"] = found[f"{layer}post_attention_layernorm.weight"] = (hidden,)
    return found if tied else found | {"lm_head.weight": (vocabulary, hidden)}


def memory(size: str, processes: int = 1, **spec: Any) -> Memory:
    """Return the estimate for a Qwen2.5 of this size on GPUs with bfloat16."""
    machine = Machine("cuda", processes, "bfloat16")
    options = TrainSpec(**{"backend": "llamafactory", "model": "base", "dataset": "faq", "gpus": processes, **spec})
    plan = Plan(
        spec=options,
        run=ROOT / "run",
        model=ROOT / "base",
        dataset="faq",
        dataset_dir=ROOT,
        entry=DatasetEntry(version="1", files={}, samples=1000, sources={}, columns={}, options={}),
        family=families.get("qwen2.5"),
        machine=machine,
        deepspeed=load_deepspeed(options.deepspeed, ROOT, machine),
    )
    return estimate(plan, shapes(size), config(size))
