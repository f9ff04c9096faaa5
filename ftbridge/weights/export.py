"""`ftbridge export`: a PEFT adapter folder, or a model's after full tuning, from either framework's checkpoint.

XTuner and DeepSpeed hold `llm.base_model.model.MODULE.lora_A.default.weight`; PEFT wants the same names without `llm.`
and `.default`. So neither the base model nor torch is needed, no pickle is loaded, and the tensors go from file to
file piece by piece.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.language import gettext as _
from ftbridge.launchers.scripts.lora_targets import has_experts, shortest_targets
from ftbridge.weights.card import ModelCard, card_of, say_changes
from ftbridge.weights.full_model import write_model
from ftbridge.weights.merging.lora import EXPERTS
from ftbridge.weights.model_files import chat_template
from ftbridge.weights.model_files.config import write_generation
from ftbridge.weights.model_files.tokenizer import copy_tokenizer
from ftbridge.weights.output_folder import fresh_folder, refuse_overlap
from ftbridge.weights.source import ModelSource, checkpoint_of, resolve, target_of
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.consolidate import Weights, is_adapter, read_weights


def export(
    source: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    out: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the adapter of a run (default: the last that succeeded) or of a folder; returns the new folder.

    After full fine-tuning the folder holds the whole model. `checkpoint` chooses one of the run's: `last` (the
    default), `best`, an optimizer step, or its name or path. `model` names the base where it is not known, `out` the
    folder (default: `adapter` in the run's, `adapter-CHECKPOINT` for another checkpoint than the last).
    Raises InputError where there is no whole checkpoint.
    """
    found = resolve(source, checkpoint)
    card = card_of(found, model)
    say_changes(card)
    return write_export(found, card, target_of(found, out, "adapter"))


def write_export(source: ModelSource, card: ModelCard, target: Path) -> Path:
    """Write the adapter, or the model, of a source to `target`, as `export` does; returns `target`."""
    refuse_overlap(target, source, Path(card.base))
    path = checkpoint_of(source)
    weights = read_weights(path)
    if not weights.tensors:
        raise InputError(_("`{path}` holds no weights of a model").format(path=path))
    whole = not (path / "adapter_config.json").is_file() and not is_adapter(weights.tensors)
    with fresh_folder(target, "model" if whole else "adapter") as folder:
        own = path if path.is_dir() else folder
        if not whole:
            _write_adapter(folder, weights, own / "adapter_config.json", source, card)
        else:
            write_model(folder, weights.tensors, own, Path(card.base))
        copy_tokenizer(own, Path(card.base), folder)
        if (folder / "config.json").is_file():
            write_generation(folder, card.stop)
        chat_template.write(folder, card)
        card.save(folder)
    return target


def _write_adapter(folder: Path, weights: Weights, own: Path, source: ModelSource, card: ModelCard) -> None:
    tensors = {_peft_name(name): tensor for name, tensor in weights.tensors.items()}
    entries = ((name, tensor.dtype, tensor.shape, tensor.pieces()) for name, tensor in tensors.items())
    if own.is_file():
        config = read_json(own)
    else:
        config = _adapter_config(weights, *_alpha_and_rslora(weights.content, source), Path(card.base))
    safetensors.write(folder / "adapter_model.safetensors", entries)
    base = card.hub.removeprefix("ms://") or card.base  # which others can find, too
    write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": base, "inference_mode": True})


def _peft_name(name: str) -> str:
    """Return PEFT's own name, as its save_and_load.py makes it."""
    name = name.removeprefix("llm.").replace(".modules_to_save.default.", ".").replace(".default.weight", ".weight")
    name = name.removesuffix(".default")  # of an embedding's
    return name.removesuffix(".weight") if ".lora_magnitude_vector" in name else name


def _alpha_and_rslora(content: Mapping[Any, Any], source: ModelSource) -> tuple[int, bool]:
    """Return alpha and whether rsLoRA scales, by the config that XTuner keeps in the checkpoint, else by the run."""
    meta = content.get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else ""
    text = text if isinstance(text, str) else ""
    if "alpha_pattern" in text:
        raise InputError(
            _("the checkpoint was trained with an alpha_pattern, which export does not know how to pass on")
        )
    if found := re.search(r"\blora_alpha=(\d{1,9})\b", text):
        return int(found[1]), "use_rslora=True" in text
    if source.run:
        return source.run.spec.lora_alpha, source.run.spec.rslora
    raise InputError(_("the checkpoint does not say its lora_alpha; export it from its run, which does"))


def _target_modules(modules: Iterable[str], base: Path) -> list[str]:
    """Return what PEFT is to be told for these modules of a base: the last names, where they mean nothing else there.

    A model that sees has layers of the same names in its tower; a mixture has them in its experts.
    """
    if "vision_config" in read_json(base / "config.json"):
        return sorted(modules)
    headers = (safetensors_header(file) or {} for file in base.glob("model*.safetensors"))
    known = {name.removesuffix(".weight") for header in headers for name in header}
    if has_experts(known):
        return shortest_targets(modules, known.union(modules))
    return sorted({module.rpartition(".")[2] for module in modules})


def _adapter_config(weights: Weights, alpha: int, rslora: bool, base: Path) -> dict[str, Any]:
    names = [_peft_name(name) for name in weights.tensors]
    ranks = {
        name.partition(".lora_")[0].removeprefix("base_model.model."): tensor.shape[0]
        for name, tensor in zip(names, weights.tensors.values(), strict=True)
        if tensor.shape and re.search(r"\.lora_(embedding_)?A\b", name)
    }
    if not ranks:
        raise InputError(_("the checkpoint holds parts of an adapter, and no `lora_A`, which gives its rank"))
    if experts := next((module for module in ranks if EXPERTS.search(module)), ""):
        raise InputError(
            _(
                "the checkpoint adapts the experts `{sub}` and does not say with which rank; train "
                "without experts (`--lora-targets`), or with `--backend llamafactory`, which writes "
                "it down"
            ).format(sub=EXPERTS.sub(".experts", experts))
        )
    [(rank, _unused)] = Counter(ranks.values()).most_common(1)
    saved = {name.partition(".modules_to_save.")[0] for name in weights.tensors if ".modules_to_save." in name}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "rank_pattern": {module: other for module, other in ranks.items() if other != rank},
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": rslora,
        "use_dora": any(".lora_magnitude_vector" in name for name in names),
        "target_modules": _target_modules(ranks, base),
        "modules_to_save": sorted({module.rpartition(".")[2] for module in saved}) or None,
        "bias": "none",
        "fan_in_fan_out": False,
    }
