"""What transformers 5 writes beside a model's weights, put such that transformers 4.57 reads the same from it.

Transformers 5 reads either form. What 4.57 does not know of the new one it passes over in silence: a Qwen 2 model would
get a rotary base of 10000 instead of 1000000, and answer nonsense.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json

# What transformers 4 has outside `rope_scaling`, under the same names.
_OUTSIDE_SCALING = ("rope_theta", "partial_rotary_factor")
# The kinds of scaling that transformers 4.57 has.
_SCALINGS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
# Notes of how a tokenizer was loaded, which 4.57 would hand to its class.
_LOADING_NOTES = ("backend", "is_local", "local_files_only")
# Classes that, in 4.57, put a first token before a text unless they are told not to.
_ADDING_BOS = ("Llama", "CodeLlama", "Gemma")
# Classes that, in 4.57, read files of their own and have another that reads tokenizer.json; 5 knows both names.
_READING_OWN_FILES = tuple(f"{name}Tokenizer" for name in ("CodeLlama", "Gemma", "GPT2", "Llama", "Qwen2"))
_OWN_FILES = ("vocab.json", "tokenizer.model")


def config_for_both(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json that transformers 4.57 and 5 read alike; the configs within it, too."""
    found = {
        key: config_for_both(value) if key.endswith("_config") and isinstance(value, dict) else value
        for key, value in config.items()
    }
    if dtype := found.get("dtype"):
        found["torch_dtype"] = dtype
    rope = found.get("rope_parameters")
    if not isinstance(rope, dict):
        return found
    if "num_local_experts" in found:  # of Qwen 3
        found["num_experts"] = found["num_local_experts"]
    return found | _rope_of_4(rope)


def _rope_of_4(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what transformers 4 has in place of `rope_parameters`; nothing for a kind that it does not know.

    Nor is a key that says nothing written: some classes of transformers 5 take a null for their only setting.
    """
    full, sliding = parameters.get("full_attention"), parameters.get("sliding_attention")
    if isinstance(full, dict):  # as Gemma 3, whose layers have rotary embeddings of two kinds
        return _add_local_base(_rope_of_4(full), sliding)
    kind = parameters.get("rope_type", "default")
    if kind not in _SCALINGS:
        return {}
    found = {key: parameters[key] for key in _OUTSIDE_SCALING if parameters.get(key) is not None}
    scaling = {key: value for key, value in parameters.items() if key not in _OUTSIDE_SCALING}
    # Phi 3 allows for nothing more; Phi MoE asks for more, and has it.
    if kind == "longrope" and "short_mscale" not in scaling:
        scaling = {"type": kind} | {key: scaling[key] for key in ("short_factor", "long_factor") if key in scaling}
    return found if scaling.keys() <= {"rope_type"} else found | {"rope_scaling": scaling}


def _add_local_base(rope: dict[str, Any], sliding: Any) -> dict[str, Any]:
    """Return `rope` with the rotary base of the layers with a sliding window, where both are known."""
    local = sliding.get("rope_theta") if isinstance(sliding, dict) else None
    return rope | {"rope_local_base_freq": local} if rope and local is not None else rope


def make_for_both(folder: Path) -> None:
    """Rewrite config.json and tokenizer_config.json of a model's folder such that transformers 4.57 reads them, too."""
    write_json(folder / "config.json", config_for_both(read_json(folder / "config.json")))
    make_tokenizer_for_both(folder)


def make_tokenizer_for_both(folder: Path) -> None:
    """Rewrite a tokenizer_config.json such that 4.57 loads the same tokenizer, and by the class that it names."""
    file = folder / "tokenizer_config.json"
    config = read_json(file) if file.is_file() else {}
    found = _tokenizer_of_4(config, folder) if is_new_tokenizer(config) else dict(config)
    has_own_files = any((folder / name).is_file() for name in _OWN_FILES)
    if found.get("tokenizer_class") in _READING_OWN_FILES and not has_own_files and "auto_map" not in found:
        found["tokenizer_class"] += "Fast"
    if found != config:
        write_json(file, found)


def _tokenizer_of_4(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a tokenizer_config.json of transformers 5 as 4.57 has it."""
    found = {key: value for key, value in config.items() if key not in _LOADING_NOTES}
    if found.get("tokenizer_class") == "TokenizersBackend":
        found["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(extra := found.get("extra_special_tokens"), list):
        del found["extra_special_tokens"]
        found["additional_special_tokens"] = extra
    if isinstance(named := found.pop("model_specific_special_tokens", None), dict):
        found["extra_special_tokens"] = named
    if found.get("add_prefix_space", True) is None:
        del found["add_prefix_space"]
    if str(found.get("tokenizer_class")).startswith(_ADDING_BOS) and (folder / "tokenizer.json").is_file():
        found.setdefault("add_bos_token", _adds_bos(read_json(folder / "tokenizer.json"), found.get("bos_token")))
    return found


def _adds_bos(tokenizer: Mapping[str, Any], bos: Any) -> bool:
    """Tell whether a tokenizer puts the token `bos` before a text."""
    processor = tokenizer.get("post_processor")
    steps = processor.get("processors") or [processor] if isinstance(processor, dict) else []
    content = bos.get("content") if isinstance(bos, dict) else bos
    texts = [step.get("single") for step in steps if isinstance(step, dict)]
    tokens = [piece.get("SpecialToken") for pieces in texts if isinstance(pieces, list) for piece in pieces if piece]
    return any(isinstance(token, dict) and token.get("id") == content for token in tokens)


def is_new_tokenizer(config: Mapping[str, Any]) -> bool:
    """Tell whether transformers 5 has written this tokenizer_config.json."""
    is_named_so = config.get("tokenizer_class") == "TokenizersBackend"
    return is_named_so or "backend" in config or isinstance(config.get("extra_special_tokens"), list)
