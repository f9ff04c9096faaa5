"""The shapes of a base before it is here: as published, as transformers makes them, and where they are looked for."""

import json
import math
import subprocess
from pathlib import Path

import pytest

from ftbridge.experiments.recipes.base_sizes import base_sizes, decoder_shapes

from ...builders.models import CONFIG, TENSORS, write_model  # noqa: TID252

# Billions of parameters, as the hubs count them or the makers say.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B-Instruct": "0.49",
    "Qwen/Qwen2.5-1.5B-Instruct": "1.54",
    "Qwen/Qwen2.5-3B-Instruct": "3.09",
    "ms://Qwen/Qwen2.5-7B-Instruct": "7.62",
    "Qwen/Qwen2.5-14B-Instruct": "14.8",
    "Qwen/Qwen2.5-32B-Instruct": "32.8",
    "hf://Qwen/Qwen3-0.6B": "0.6",
    "Qwen/Qwen3-1.7B-Base": "1.7",
    "Qwen/Qwen3-4B-Instruct-2507": "4.0",
    "Qwen/Qwen3-8B": "8.2",
    "Qwen/Qwen3-14B": "14.8",
    "Qwen/Qwen3-32B": "32.8",
}
# Prints the shapes of a small model of each kind, as transformers makes them.
MAKE = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
with torch.device("meta"):
    models = [AutoModelForCausalLM.from_config(AutoConfig.for_model(**each)) for each in json.loads(sys.argv[1])]
print(json.dumps([{name: list(each.shape) for name, each in model.named_parameters()} for model in models]))
"""


@pytest.mark.parametrize(("model", "published"), PUBLISHED.items())
def test_known_models_have_as_many_parameters_as_is_published(model, published, tmp_path):
    found = base_sizes(model, tmp_path)
    billions = sum(map(math.prod, found.shapes.values())) / 1e9
    assert f"{billions:.{len(published.partition('.')[2])}f}" == published
    assert not found.is_here


@pytest.mark.framework
@pytest.mark.matrix
def test_a_decoder_has_the_tensors_that_transformers_gives_it(training_python):
    small = CONFIG | {"hidden_size": 16, "head_dim": 8, "vocab_size": 40}
    configs = [
        small | {"model_type": kind, "tie_word_embeddings": tied}
        for kind in ("llama", "mistral", "qwen2", "qwen3")
        for tied in (True, False)
    ]
    done = subprocess.run([training_python, "-c", MAKE, json.dumps(configs)], check=True, capture_output=True)
    made = [{name: tuple(shape) for name, shape in each.items()} for each in json.loads(done.stdout)]
    assert [decoder_shapes(each) for each in configs] == made


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("HF_HUB_CACHE", "models--owner--a.model/snapshots/0a1b"),
        ("HF_HOME", "hub/models--owner--a.model/snapshots/0a1b"),
        ("MODELSCOPE_CACHE", "models/owner--a.model/snapshots/master"),
        ("MODELSCOPE_CACHE", "models/owner/a___model"),
        ("MODELSCOPE_CACHE", "hub/models/owner/a___model"),
    ],
)
def test_a_model_that_a_hub_has_sent_is_found_in_its_cache(tmp_path, monkeypatch, variable, place):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    early = base_sizes("owner/a.model", Path("/"))
    assert (early.is_here, early.shapes["model.norm.weight"]) == (False, (4,))
    write_model(folder)
    late = base_sizes("ms://owner/a.model", Path("/"))
    assert (late.is_here, late.shapes) == (True, TENSORS)


@pytest.mark.parametrize("changed", [{"model_type": "bloom"}, {"hidden_size": None}, {"vocab_size": "many"}])
def test_what_is_no_known_decoder_is_not_guessed_at(tmp_path, changed):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changed))
    assert base_sizes(str(tmp_path), tmp_path) is None
    assert base_sizes("owner/unknown", tmp_path) is None
