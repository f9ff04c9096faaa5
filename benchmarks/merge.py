"""Merge speed and memory: `python benchmarks/merge.py [--rounds N] [--only NAME ...]`, with the training environment.

A random bfloat16 model of 1.35 billion parameters in the shape of Qwen2 (2.7 GB) and a rank-8 adapter on all its
linear layers are made in a temporary folder (TMPDIR; 7 GB of room) and merged in turns; prints the median time, the
peak of resident memory and how many times the time of ftbridge each takes. Axolotl cannot be installed beside the
tested set; its merge is a file of its own, which is taken out of its wheel (pip download) and run after the imports
that its command makes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import msgspec
import numpy as np
from measure import Measured, measure_command

from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.weights.tensors import safetensors

BIN = default_folder("transformers4") / "bin"  # XTuner's own command does not start with transformers 5
HIDDEN, INNER, LAYERS, VOCABULARY, RANK = 2048, 5504, 24, 32000, 8
LINEAR = {
    **dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"), (HIDDEN, HIDDEN)),
    **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (INNER, HIDDEN)),
    "mlp.down_proj": (HIDDEN, INNER),
}
NEEDED_SPACE = 7e9
AXOLOTL = "axolotl==0.19.0"
# What its command, axolotl/cli/merge_lora.py, imports of others, directly or through its own modules.
RUN_AXOLOTL = """
import importlib.util, logging, sys, types
import accelerate, datasets, peft, transformers
module = types.ModuleType("axolotl.utils.logging")
module.get_logger = logging.getLogger
for name in ("axolotl", "axolotl.utils"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["axolotl.utils.logging"] = module
spec = importlib.util.spec_from_file_location("lora_merge", sys.argv[1])
merge = importlib.util.module_from_spec(spec)
spec.loader.exec_module(merge)
merge.merge_lora_sharded_efficient(*sys.argv[2:5], device="cpu")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="ftbridge, llamafactory, xtuner, axolotl, cp")
    options = parser.parse_args()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # xtuner starts `python` by name
    with tempfile.TemporaryDirectory(prefix="ftbridge-merge-") as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < NEEDED_SPACE:
            raise SystemExit(f"{folder} has {free / 1e9:.1f} GB free, {NEEDED_SPACE / 1e9:.0f} are needed; set TMPDIR")
        make_model(folder)
        make_adapter(folder)
        commands = {key: argv for key, argv in all_commands(folder, options.only).items() if argv}
        found: dict[str, list[Measured]] = {title: [] for title in commands}
        for _ in range(options.rounds):
            for title, argv in commands.items():
                found[title].append(time_merge(argv, folder))
                print(f"  {title}: {found[title][-1].seconds:.1f} s", flush=True)
        print_results(found)


def all_commands(folder: Path, only: list[str] | None) -> dict[str, list[str]]:
    model, adapter, out = (str(folder / name) for name in ("model", "adapter", "out"))
    export = {"model_name_or_path": model, "adapter_name_or_path": adapter, "export_dir": out, "template": "qwen",
              "finetuning_type": "lora", "export_size": 5, "export_device": "cpu"}  # fmt: skip
    (folder / "export.yaml").write_bytes(msgspec.yaml.encode(export))
    (folder / "axolotl.py").write_text(RUN_AXOLOTL)
    commands = {
        "ftbridge": [sys.executable, "-m", "ftbridge", "merge", adapter, "--model", model, "--out", out],
        "llamafactory": [str(BIN / "llamafactory-cli"), "export", str(folder / "export.yaml")],
        "xtuner": [str(BIN / "xtuner"), "convert", "merge", model, adapter, out, "--device", "cpu"],
        "axolotl": [
            str(BIN / "python"),
            str(folder / "axolotl.py"),
            str(folder / "lora_merge.py"),
            model,
            adapter,
            out,
        ],
        "cp": ["cp", "-r", model, out],
    }
    commands = {title: argv for title, argv in commands.items() if not only or title in only}
    if "axolotl" in commands:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), AXOLOTL],
            check=True,
        )
        with zipfile.ZipFile(next(folder.glob("axolotl*.whl"))) as wheel:
            (folder / "lora_merge.py").write_bytes(wheel.read("axolotl/cli/utils/lora_merge.py"))
    return commands


def time_merge(argv: list[str], folder: Path) -> Measured:
    """Run a command with the model in the page cache, and see that it wrote a model."""
    shards = sorted((folder / "model").glob("*.safetensors"))
    for shard in shards:
        with shard.open("rb") as file:
            while file.read(1 << 24):
                pass
    found = measure_command(argv, folder, shards[0])
    written = sum(file.stat().st_size for file in (folder / "out").iterdir())
    if written < sum(shard.stat().st_size for shard in shards) * 0.99:
        raise SystemExit(f"{argv} wrote {written} bytes only")
    shutil.rmtree(folder / "out")
    return found


def print_results(found: dict[str, list[Measured]]) -> None:
    seconds = {title: statistics.median(each.seconds for each in runs) for title, runs in found.items()}
    for title, runs in found.items():
        ratio = f"{seconds[title] / seconds['ftbridge']:6.2f} x ftbridge" if "ftbridge" in seconds else ""
        print(f"{title:<13} {seconds[title]:6.1f} s  {max(run.megabytes for run in runs):6.0f} MB  {ratio}")


def make_model(folder: Path) -> None:
    small = base_model(folder / "small", BIN / "python", ["What is aspirin for?", "Aspirin relieves pain."])
    model = folder / "model"
    shutil.copytree(small, model, ignore=shutil.ignore_patterns("*.safetensors"))
    config = msgspec.json.decode((small / "config.json").read_bytes())
    config |= {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
               "num_attention_heads": 16, "num_key_value_heads": 16, "tie_word_embeddings": False,
               "layer_types": ["full_attention"] * LAYERS, "max_window_layers": LAYERS}  # fmt: skip
    (model / "config.json").write_bytes(msgspec.json.encode(config))
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        for name, shape in LINEAR.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if name[-6:] in {"q_proj", "k_proj", "v_proj"}:
                shapes[f"model.layers.{layer}.{name}.bias"] = (HIDDEN,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{norm}.weight"] = (HIDDEN,)
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    names, weight_map = list(shapes), {}
    for number in range(4):
        file = f"model-{number + 1:05d}-of-00004.safetensors"
        held = names[number * len(names) // 4 : (number + 1) * len(names) // 4]
        tensors = [(name, "BF16", shapes[name], [random_bytes(shapes[name], 2)]) for name in held]
        safetensors.write(model / file, tensors)
        weight_map |= dict.fromkeys(held, file)
    index = {"metadata": {"total_size": 2 * sum(map(np.prod, shapes.values())).item()}, "weight_map": weight_map}
    (model / "model.safetensors.index.json").write_bytes(msgspec.json.encode(index))


def make_adapter(folder: Path) -> None:
    (folder / "adapter").mkdir()
    tensors: list[safetensors.Entry] = []
    for layer in range(LAYERS):
        for name, (rows, columns) in LINEAR.items():
            stem = f"base_model.model.model.layers.{layer}.{name}.lora"
            for part, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
                tensors.append((f"{stem}_{part}.weight", "F32", shape, [random_bytes(shape, 4)]))
    safetensors.write(folder / "adapter" / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(folder / "model"),
              "r": RANK, "lora_alpha": 16, "target_modules": [name.partition(".")[2] for name in LINEAR]}  # fmt: skip
    (folder / "adapter" / "adapter_config.json").write_bytes(msgspec.json.encode(config))


def random_bytes(shape: tuple[int, ...], item: int) -> bytes:
    """Return numbers between 2**-7 and 2**-5, of either sign, as bfloat16 or float32."""
    bits = np.random.default_rng(sum(shape)).integers(0, 1 << 16, size=shape, dtype=np.uint16)
    bits = bits & 0x80FF | 0x3C00
    return bits.tobytes() if item == 2 else (bits.astype(np.uint32) << 16).tobytes()  # noqa: PLR2004


main()
