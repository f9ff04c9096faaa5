"""The tables of docs/memory.md and of both READMEs, made from the estimate; the test compares them.

`.venv/bin/python -m tests.launchers.preflight.memory_tables` writes them anew where they stand.
"""

from functools import cache
from pathlib import Path
from typing import Any

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.preflight.memory import WARNING_SHARE
from ftbridge.launchers.preflight.memory_estimate import Memory, estimate_memory
from ftbridge.templates.families import get_family

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "memory.md"
# Each README, and what heads the first column of its table.
FIRST = {"README.md": "GPU memory", "README.zh-CN.md": "显存"}
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
METHODS = {
    "qlora · XTuner": ("qlora", "xtuner"),
    "qlora · LLaMA-Factory": ("qlora", "llamafactory"),
    "lora · XTuner": ("lora", "xtuner"),
    "lora · LLaMA-Factory": ("lora", "llamafactory"),
    "full": ("full", "xtuner"),
}
BESIDE = "beside them are {buffers} buffers, {activations} activations, {context} CUDA"
SMALL = (
    "theirs, whose setting is not told, is as our model states; beside them are {activations} activations "
    "(512 tokens, of a vocabulary of 152,064), {context} CUDA"
)
EIGHTEEN = (
    "18 bytes here too (weight 4, gradient 4, Adam 8, autocast's copy 2), but of 7.6 billion values, and 120 is that "
    "of 6.7; {context} CUDA"
)
GATHERED = "theirs are model states and 2.2 for the layer that is gathered, under buffers here; "
ONE = {"lora_rank": 8, "cutoff_length": 512}
# What is published, in GB a GPU: of which model, on how many GPUs, with which options, and why ours is over 15 % off.
PUBLISHED: dict[str, tuple[float, str, int, dict[str, Any], str]] = {
    "LLaMA-Factory's table: QLoRA, 4 bits, 7B": (6, "7B", 1, ONE, SMALL),
    "the same: LoRA, 16 bits, 7B": (16, "7B", 1, ONE | {"method": "lora"}, ""),
    "the same: full, 7B, 18 bytes a value": (120, "7B", 1, ONE | {"method": "full"}, EIGHTEEN),
    "the same: QLoRA, 4 bits, 70B": (48, "72B", 1, ONE, ""),
    "DeepSpeed's estimator: ZeRO-2, full, 7.6 billion on 8": (
        *(32.3, "7B", 8, {"deepspeed": "zero2", "method": "full"}),
        f"theirs are model states alone; {BESIDE}",
    ),
    "the same: ZeRO-3": (19.3, "7B", 8, {"deepspeed": "zero3", "method": "full"}, GATHERED + BESIDE),
}


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
    machine = Devices("cuda", processes, "bfloat16")
    options = TrainSpec(**{"backend": "llamafactory", "model": "base", "dataset": "faq", "gpus": processes, **spec})
    plan = TrainPlan(
        spec=options,
        run=ROOT / "run",
        model=ROOT / "base",
        dataset="faq",
        dataset_dir=ROOT,
        entry=DatasetEntry(version="1", files={}, samples=1000, sources={}, columns={}),
        family=get_family("qwen2.5"),
        machine=machine,
        deepspeed=load_deepspeed(options.deepspeed, ROOT, machine),
    )
    return estimate_memory(plan, shapes(size), config(size))


def published() -> list[list[str]]:
    """Return the table of what is published, in GB, beside the estimate; each gap over 15 % has its reason."""
    rows = [["training", "published", "model states here", "all here", "gap", "why"]]
    for title, (theirs, size, processes, spec, why) in PUBLISHED.items():
        ours = memory(size, processes, **spec)
        gap = ours.total / GB / theirs - 1
        assert bool(why) == (abs(gap) > 0.15), (title, gap)
        parts = {name: gigabytes(getattr(ours, name)) for name in ("buffers", "activations", "context")}
        cells = [title, f"{theirs:g}", gigabytes(ours.certain), gigabytes(ours.total), f"{gap:+.0%}"]
        rows.append([*cells, why.format(**parts)])
    return rows


def totals() -> list[list[str]]:
    """Return the table of what a GPU needs for each Qwen2.5, in GB, with the default options."""
    rows = [
        [size, *(gigabytes(memory(size, method=method, backend=backend).total) for method, backend in METHODS.values())]
        for size in QWEN
    ]
    return [["Qwen2.5", *METHODS], *rows]


def cards(first: str) -> list[list[str]]:
    """Return the table of the largest Qwen2.5 within 90 % of a card, with the default options; `first` heads it."""
    rows = [[first, *METHODS]]
    for card in CARDS:
        fitting = [
            [size for size in QWEN if memory(size, method=method, backend=backend).total <= WARNING_SHARE * card * GB]
            for method, backend in METHODS.values()
        ]
        rows.append([f"{card} GB", *(sizes[-1] if sizes else "-" for sizes in fitting)])
    return rows


def gigabytes(size: int | None) -> str:
    """Return bytes in GB (10^9), to a tenth."""
    return f"{(size or 0) / GB:.1f}"


def written(text: str, name: str, rows: list[list[str]]) -> str:
    """Return `text` with the rows as its table between `<!-- table: NAME -->` and `<!-- end of table -->`."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    head, begin, rest = text.partition(f"<!-- table: {name} -->\n")
    _, end, tail = rest.partition("<!-- end of table -->")
    assert begin, f"no table {name}"
    assert end, f"no end of table {name}"
    return head + begin + "\n".join(lines) + "\n" + end + tail


def documents() -> dict[Path, str]:
    """Return the files with their tables as the code makes them."""
    doc = written(written(DOC.read_text("utf-8"), "published", published()), "totals", totals())
    texts = {ROOT / name: (ROOT / name).read_text("utf-8") for name in FIRST}
    return {DOC: doc} | {path: written(text, "cards", cards(FIRST[path.name])) for path, text in texts.items()}


def main() -> None:
    """Write the tables anew."""
    for path, text in documents().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
