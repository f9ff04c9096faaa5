"""A whole model's folder: names and files of the base, and of its config all but what a training changes."""

import json

import pytest

from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.weights.full_model import write_model
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.consolidate import read_weights


def model(folder, tensors, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.write(folder / "model.safetensors", [(name, "BF16", (1,), [value]) for name, value in tensors.items()])
    return folder


def written(held, own, base, new):
    new.mkdir()
    write_model(new, read_weights(held).tensors, own, base)
    content = (new / "model.safetensors").read_bytes()
    names = safetensors_header(new / "model.safetensors")
    start = len(content) - 2 * len(names)
    return {name: content[start + each["data_offsets"][0] :][:2] for name, each in names.items()}


BASE = {
    "model.language_model.norm.weight": b"aa",
    "model.visual.norm.weight": b"bb",
    "mtp.norm.weight": b"cc",
    "lm_head.weight": b"dd",
}
CONFIG = {"model_type": "qwen3_5", "text_config": {"vocab_size": 3, "rope_theta": 1e6}, "vision_config": {"a": 1}}


def test_the_text_model_alone_takes_its_place_in_the_model_that_sees(tmp_path):
    base = model(tmp_path / "base", BASE, **CONFIG)
    held = model(tmp_path / "held", {"model.norm.weight": b"xx"}, model_type="qwen3_5_text", vocab_size=4)
    # Its output layer is the embedding; the base's own would be of before the training.
    assert written(held, held, base, tmp_path / "new") == {
        "model.language_model.norm.weight": b"xx",
        "model.visual.norm.weight": b"bb",
        "mtp.norm.weight": b"cc",
    }
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    changed = {"vocab_size": 4, "rope_theta": 1e6}
    assert config == {**CONFIG, "text_config": changed, "dtype": "bfloat16", "torch_dtype": "bfloat16"}


def test_model_trained_whole_takes_nothing_from_the_base(tmp_path):
    base = model(tmp_path / "base", BASE, **CONFIG)
    names = {"model.language_model.norm.weight": b"xx", "model.visual.norm.weight": b"yy"}
    held = model(tmp_path / "held", names, **CONFIG)
    assert written(held, held, base, tmp_path / "new") == names


@pytest.mark.parametrize(
    ("trained", "wanted"),
    [
        ({}, {"rope_theta": 1e6, "num_experts": 4, "vocab_size": 5}),
        (
            {"vocab_size": 6, "num_local_experts": 4, "use_cache": False, "layer_types": ["renamed"]},
            {"rope_theta": 1e6, "num_experts": 4, "vocab_size": 6},
        ),
        (
            {"rope_parameters": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 2.0}},
            {
                "rope_theta": 1e6,
                "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
                "rope_parameters": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 2.0},
                "num_experts": 4,
                "vocab_size": 5,
            },
        ),
    ],
)
def test_the_config_is_the_bases_with_what_a_training_changes(tmp_path, trained, wanted):
    base = model(tmp_path / "base", {"norm.weight": b"aa"}, rope_theta=1e6, num_experts=4, vocab_size=5)
    held = model(tmp_path / "held", {"norm.weight": b"xx"}, **trained)
    written(held, held, base, tmp_path / "new")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config == {**wanted, "dtype": "bfloat16", "torch_dtype": "bfloat16"}
