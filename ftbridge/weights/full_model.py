"""A whole model's folder, out of what full fine-tuning has left in memory's names."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.weights.model_files.tokenizer import copy_files
from ftbridge.weights.model_files.transformers4 import config_for_both
from ftbridge.weights.tensors import index, safetensors
from ftbridge.weights.tensors.experts import split_experts
from ftbridge.weights.tensors.names import is_beside_text, name_in_files
from ftbridge.weights.tensors.tensor import Tensor, round_float32

_DTYPES = {"bfloat16": "BF16", "float16": "F16"}
# What a training may have changed in the config: the vocabulary, and how far the model sees.
_CHANGED_KEYS = ("vocab_size", "tie_word_embeddings", "max_position_embeddings")
_ROPE_KEYS = ("rope_parameters", "rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")


def write_model(folder: Path, held: Mapping[str, Tensor], own: Path, base: Path) -> None:
    """Write the model in the dtype that the base's config.json names: what is held in float32 is rounded to it.

    What is held in 16 bits stays as it is, and so does float32 where the base is float32 or names none; config.json
    says which it became. Names, and which tensors experts lie in, are those of the base's files; of a base that also
    sees, what a training of its text model alone does not hold is taken over.
    """
    known = read_json(base / "config.json") if (base / "config.json").is_file() else {}
    wanted = _DTYPES.get(str(known.get("dtype") or known.get("torch_dtype")), "F32")
    entries: list[safetensors.Entry] = []
    for name, tensor in _rename_as_in_files(held, base).items():
        if tensor.dtype == "F32" and wanted != "F32":
            entries.append((name, wanted, tensor.shape, round_float32(tensor, wanted)))
        else:
            entries.append((name, tensor.dtype, tensor.shape, tensor.pieces()))
    safetensors.write_model(folder, entries)
    [(written, _)] = Counter(dtype for _, dtype, _, _ in entries).most_common(1)
    trained = read_json(own / "config.json") if (own / "config.json").is_file() else {}
    config = _config_after_training(known, trained) if known else trained
    names = {"F32": "float32", **{dtype: name for name, dtype in _DTYPES.items()}}
    changed = {"torch_dtype" if "torch_dtype" in config else "dtype": names[written]} if written in names else {}
    write_json(folder / "config.json", config_for_both(config | changed))
    for place in (own, base):
        copy_files(place, folder, ("generation_config.json", "*.py", "*.jinja"), overwrite=False)


def _rename_as_in_files(held: Mapping[str, Tensor], base: Path) -> dict[str, Tensor]:
    """Return the tensors under the names that they have on disk, in the base's files where those are here."""
    plain = {name.removeprefix("llm."): tensor for name, tensor in held.items()}
    files = index.model_tensors(base) if index.has_weights(base) else {}
    if not files:
        return plain
    found: dict[str, Tensor] = {}
    moved = False
    for name, tensor in plain.items():
        here = name_in_files(name, files)
        moved |= bool(here) and is_beside_text(name) != is_beside_text(here)
        found |= {here: tensor} if here else split_experts(name, tensor, files)
    if moved:
        found |= {name: tensor for name, tensor in files.items() if name not in found and is_beside_text(name)}
    return found


def _config_after_training(base: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base's config with what a training may have changed.

    Not the training's own: transformers 5 has renamed more in it than 4.57 reads. (Nor its `use_cache`, which is
    switched off for training.)
    """
    found = dict(base)
    if isinstance(text := base.get("text_config"), dict):
        own = trained.get("text_config", trained)
        found["text_config"] = _config_after_training(text, own if isinstance(own, dict) else {})
        return found | {key: trained[key] for key in _CHANGED_KEYS if key in trained and key in base}
    if trained.keys() & {"rope_parameters", "rope_theta"}:
        found = {key: value for key, value in base.items() if key not in _ROPE_KEYS}
        found |= {key: trained[key] for key in _ROPE_KEYS if key in trained}
    return found | {key: trained[key] for key in _CHANGED_KEYS if key in trained}
