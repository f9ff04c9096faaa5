"""A model folder of a few kilobytes, written without a framework."""

import json
import math
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 6,
}
TENSORS = {"model.embed_tokens.weight": (6, 4), "model.layers.0.mlp.up_proj.weight": (8, 4), "lm_head.weight": (6, 4)}


def write_tensors(file, tensors):
    """Write a safetensors file of zeros, in bfloat16."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))


def write_tokenizer(folder, **config):
    """Write a tokenizer whose every word is one token."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - a token, not a secret
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer", **config}))


def write_model(folder: Path, **config) -> Path:
    """Write a whole model; returns its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    write_tensors(folder / "model.safetensors", TENSORS)
    write_tokenizer(folder)
    return folder
