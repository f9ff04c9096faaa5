"""The shapes of a base model's tensors before it is downloaded."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import load_yaml, read_json
from ftbridge.core.parsing.safetensors_header import Shape, shapes
from ftbridge.launchers.preflight.memory_estimate import ActivationSizes, text_config

_HUB = re.compile(r"(?:hf|ms)://")
# Versions of one model, whose shapes are the same.
_VERSION = re.compile(r"(?:-Base|-Instruct|-Thinking)?(?:-2507)?$")
# Decoders whose layers have the tensors that `decoder_shapes` writes down.
_DECODERS = {"llama", "mistral", "qwen2", "qwen3"}


class BaseSizes(msgspec.Struct, frozen=True):
    """What is known of a base: its config.json, its tensors' shapes, and whether its weights lie on this machine."""

    config: dict[str, Any]
    shapes: dict[str, Shape]
    is_here: bool


def base_sizes(model: str, folder: Path) -> BaseSizes | None:
    """Return what is known of `model`, a folder (relative to `folder`) or a hub's name; None where nothing is.

    It is looked for in the folder, in the caches of both hubs, and in needs.yaml; nothing is downloaded.
    """
    for place in _places(model, folder):
        with suppress(InputError):
            config = read_json(place / "config.json")
            tensors = shapes(place)
            if found := tensors or decoder_shapes(config):
                return BaseSizes(config, found, bool(tensors))
    known = known_facts()["models"].get(_VERSION.sub("", _HUB.sub("", model)))
    return BaseSizes(known, decoder_shapes(known), False) if known else None


def _places(model: str, folder: Path) -> Iterator[Path]:
    """Yield the folders in which the files of a model may lie."""
    yield folder / Path(model).expanduser()
    name = _HUB.sub("", model)
    home, joined = Path.home() / ".cache", name.replace("/", "--")
    hugging_face = Path(os.environ.get("HF_HOME") or home / "huggingface") / "hub"
    yield from Path(os.environ.get("HF_HUB_CACHE") or hugging_face).glob(f"models--{joined}/snapshots/*")
    modelscope = Path(os.environ.get("MODELSCOPE_CACHE") or home / "modelscope")
    yield from modelscope.glob(f"models/{joined}/snapshots/*")
    for before in ("models", "hub/models"):  # of its clients up to 1.37
        yield modelscope / before / name.replace(".", "___")


@cache
def known_facts() -> dict[str, Any]:
    """Return what needs.yaml says of `cards` and `models`."""
    text = files(__package__).joinpath("needs.yaml").read_text("utf-8")
    return load_yaml(text, "needs.yaml")


def decoder_shapes(config: dict[str, Any]) -> dict[str, Shape]:
    """Return the shapes that a decoder of this config.json has, by name; {} where it is of another kind."""
    text = text_config(config)
    try:
        sizes = msgspec.convert({"num_key_value_heads": text.get("num_attention_heads"), **text}, ActivationSizes)
    except msgspec.ValidationError:
        return {}
    kind, hidden, between = text.get("model_type"), sizes.hidden_size, sizes.intermediate_size
    if kind not in _DECODERS:
        return {}
    head = text.get("head_dim") or hidden // sizes.num_attention_heads
    queries, values = sizes.num_attention_heads * head, sizes.num_key_value_heads * head
    layer: dict[str, Shape] = {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (values, hidden),
        "self_attn.v_proj.weight": (values, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "mlp.gate_proj.weight": (between, hidden),
        "mlp.up_proj.weight": (between, hidden),
        "mlp.down_proj.weight": (hidden, between),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    if kind == "qwen2":
        layer |= {f"self_attn.{name}_proj.bias": (layer[f"self_attn.{name}_proj.weight"][0],) for name in "qkv"}
    if kind == "qwen3":
        layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    found = {
        f"model.layers.{number}.{name}": shape
        for number in range(sizes.num_hidden_layers)
        for name, shape in layer.items()
    }
    found |= {"model.embed_tokens.weight": (sizes.vocab_size, hidden), "model.norm.weight": (hidden,)}
    return found if text.get("tie_word_embeddings") else found | {"lm_head.weight": (sizes.vocab_size, hidden)}
