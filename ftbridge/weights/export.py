"""`ftbridge export`: a PEFT adapter folder from either framework's checkpoint.

XTuner's checkpoints hold `llm.base_model.model.MODULE.lora_A.default.weight` under `state_dict` (DeepSpeed: under
`module`); PEFT wants the same names without `llm.` and `.default`. So neither the base model nor torch is
needed, and no pickle is loaded. LLaMA-Factory writes PEFT's own format.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import write_atomic
from ftbridge.weights import safetensors
from ftbridge.weights.checkpoint import Checkpoint, Tensor
from ftbridge.weights.folders import fresh_folder
from ftbridge.weights.sources import Card, Source, card_of, checkpoint_of, resolve, target_of

TOKENIZER = (
    "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json", "chat_template*",
    "tokenization_*.py", "spiece.model",
)  # fmt: skip


def export(
    source: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the adapter of a run (default: the last that succeeded) or of a folder; returns the new folder.

    After full fine-tuning the folder holds the whole model. `model` names the base where it is not known, `out`
    the folder (default: `adapter` in the run's). Raises InputError where there is no whole checkpoint.
    """
    found = resolve(source)
    card = card_of(found, model)
    target = target_of(found, out, "adapter")
    checkpoint = checkpoint_of(found)
    with fresh_folder(target) as folder:
        if (checkpoint / "adapter_config.json").is_file() or list(checkpoint.glob("model*.safetensors")):
            _copy(checkpoint, folder)
        else:
            _from_xtuner(checkpoint, folder, found, card)
        copy_files(Path(card.base), folder, TOKENIZER, overwrite=False)
        card.save(folder)
    return target


def copy_files(source: Path, target: Path, patterns: tuple[str, ...], *, overwrite: bool) -> None:
    """Copy the files of `source` that match a pattern into `target`."""
    for file in (file for pattern in patterns for file in source.glob(pattern) if file.is_file()):
        if overwrite or not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)


def _copy(checkpoint: Path, folder: Path) -> None:
    patterns = (
        "adapter_*",
        "model*.safetensors",
        "model.safetensors.index.json",
        "config.json",
        "generation_config.json",
    )
    copy_files(checkpoint, folder, (*patterns, *TOKENIZER), overwrite=True)
    config = folder / "adapter_config.json"
    if config.is_file() and not (folder / "adapter_model.safetensors").is_file():
        raise InputError(f"`{checkpoint}` has an adapter_config.json but no adapter_model.safetensors")


def _from_xtuner(path: Path, folder: Path, source: Source, card: Card) -> None:
    file = path / "mp_rank_00_model_states.pt" if path.is_dir() else path
    if path.is_dir() and list(path.glob("zero_pp_rank_*_model_states.pt")):
        raise InputError(
            f"`{path}` is shared out by ZeRO-3, which export cannot put together; train again with "
            "`--deepspeed zero2`, or with `--backend llamafactory`, which gathers the weights itself"
        )
    if not file.is_file():
        raise InputError(f"`{path}` holds neither a checkpoint nor an adapter")
    checkpoint = Checkpoint(file)
    tensors = {_peft_name(name): tensor for name, tensor in checkpoint.tensors().items()}
    lora = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    if not tensors:
        raise InputError(f"`{file}` holds no weights of a model")
    if lora:
        safetensors.write(folder / "adapter_model.safetensors", _contents(checkpoint, lora))
        config = _adapter_config(lora, card, *_scaling(checkpoint, source))
        write_atomic(folder / "adapter_config.json", msgspec.json.format(msgspec.json.encode(config)) + b"\n")
    else:
        safetensors.write(folder / "model.safetensors", _contents(checkpoint, _untied(tensors)))
        copy_files(Path(card.base), folder, ("*.json", "*.py", "*.jinja"), overwrite=False)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)


def _peft_name(name: str) -> str:
    name = name.removeprefix("llm.").replace(".default.weight", ".weight")
    return name.removesuffix(".weight") if ".lora_magnitude_vector" in name else name  # as PEFT itself saves DoRA's


def _contents(checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    return [(name, t.dtype, t.shape, checkpoint.read(t)) for name, t in sorted(tensors.items())]


def _untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out a second name of the same storage, as transformers does: embeddings tied to the output."""
    seen: set[tuple[str, int]] = set()
    kept = {}
    for name, tensor in tensors.items():
        if (tensor.record, tensor.offset) not in seen:
            kept[name] = tensor
        seen.add((tensor.record, tensor.offset))
    return kept


def _scaling(checkpoint: Checkpoint, source: Source) -> tuple[int, bool]:
    """Return alpha and whether rsLoRA scales, from the run, else the config that XTuner keeps in the checkpoint."""
    if source.run:
        return source.run.spec.lora_alpha, source.run.spec.rslora
    meta = checkpoint.content.get("meta")
    text = str(meta.get("cfg", "")) if isinstance(meta, dict) else ""
    found = re.search(r"lora_alpha\s*=\s*(\d+)", text)
    if not found:
        raise InputError("the checkpoint does not say its lora_alpha; export it from its run, which does")
    return int(found[1]), bool(re.search(r"use_rslora\s*=\s*True", text))


def _adapter_config(lora: dict[str, Tensor], card: Card, alpha: int, rslora: bool) -> dict[str, Any]:
    ranks = {tensor.shape[0] for name, tensor in lora.items() if ".lora_A." in name}
    modules = {name.partition(".lora_")[0].rpartition(".")[2] for name in lora}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": card.base,
        "r": ranks.pop(),
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": rslora,
        "use_dora": any(".lora_magnitude_vector" in name for name in lora),
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
