"""Compare a merged model with its base and the adapter, added here; runs in the training environment.

`judge_merged.py BASE ADAPTER MERGED` ends with 1, and says why, where the folder has other tensors than the base, where
transformers misses one, or where a weight is not the base's with the adapter's change, rounded once; and where base and
adapter, as `chat` loads them, do not compute what the merged model does.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[2] / "launchers" / "scripts"))
import generate

ALIKE = 0.2  # the share of the adapter's effect that rounding, and an expert chosen otherwise for it, may make


def main(base: str, adapter: str, merged: str) -> None:
    """Compare the files, then the models as the published class loads them."""
    if shapes(base) != shapes(merged):
        sys.exit(f"other tensors than the base has: {sorted(shapes(base).items() ^ shapes(merged).items())[:4]}")
    expected = load(base)
    changed = add(expected, Path(adapter))
    found = dict(load(merged).named_parameters())
    for name, weight in expected.named_parameters():
        slack = weight.abs() * 2**-8 + 2**-24 if name in changed else 0
        if ((found[name] - weight).abs() > slack).any():
            sys.exit(f"`{name}` is not what base and adapter are together")
    plain, adapted, whole = logits(base, None), logits(base, adapter), logits(merged, None)
    if (adapted - whole).abs().mean() > ALIKE * (adapted - plain).abs().mean():
        sys.exit("base and adapter, as `chat` loads them, do not compute what the merged model does")


def logits(folder: str, adapter: str | None) -> torch.Tensor:
    """Return what the model of `folder` makes of some tokens, loaded as `chat` and `predict` do."""
    here = {"device": "cpu", "offload_folder": None, "bits": None, "dtype": "float32", "trust_remote_code": False}
    _, model = generate.load_model({**here, "model": folder, "adapters": [adapter] if adapter else []})
    with torch.inference_mode():
        return model(input_ids=torch.arange(20, 60)[None]).logits


def shapes(folder: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in the folder's files by name."""
    known = {}
    for file in Path(folder).glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            known |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return known


def load(folder: str) -> Any:
    """Return the whole model, in float32; ends where a weight is in none of its files."""
    kind = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["architectures"][0]
    model, said = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if missing := said["missing_keys"]:
        sys.exit(f"transformers does not find {sorted(missing)[:4]} in `{folder}`")
    return model


def add(model: Any, adapter: Path) -> set[str]:
    """Add a LoRA adapter to the weights of `model`; returns the names of those that it changes."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    factors = load_file(adapter / "adapter_model.safetensors")
    modules, changed = dict(model.named_modules()), set()
    for name in [each for each in factors if each.endswith(".lora_A.weight")]:
        path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        # XTuner trains the language model alone; Llama 4 keeps that under another name than the other classes.
        within = (path, path.replace("model.", "model.language_model.", 1), f"language_model.{path}")
        path = next((each for each in within if each in modules), path)
        if not isinstance(modules.get(path), torch.nn.Linear):
            sys.exit(f"the adapter changes `{path}`, which is not a linear layer of the model")
        product = factors[name.replace(".lora_A.", ".lora_B.")].float() @ factors[name].float()
        modules[path].weight.data += product * config["lora_alpha"] / config["r"]
        changed.add(f"{path}.weight")
    return changed


if __name__ == "__main__":
    main(*sys.argv[1:])
