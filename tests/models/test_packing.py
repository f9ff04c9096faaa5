"""Which classes of models keep packed samples apart: what packing.yaml says, measured."""

import json
import subprocess
from importlib import util
from pathlib import Path

import msgspec
import pytest

from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.preflight.tokens import packing_table
from ftbridge.launchers.process.script import SCRIPTS

HERE = Path(__file__).parent
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
# Classes that the table of models does not have: what wrote their files, and what is not SMALL.
OTHERS = {
    "bloom": ("BloomForCausalLM", {"n_layer": 2, "n_head": 4}),
    "cohere2": ("Cohere2ForCausalLM", {"sliding_window": 32}),
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        {**LATENT, "head_dim": 8, "num_key_value_heads": 4, "moe_intermediate_size": 32, "n_routed_experts": 4}
        | {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    ),
    "gemma": ("GemmaForCausalLM", {}),
    "gemma2": ("Gemma2ForCausalLM", {"sliding_window": 32, "query_pre_attn_scalar": 16}),
    "glm": ("GlmForCausalLM", {}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 64, "n_layer": 2, "n_head": 4}),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 4}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "phi3": ("Phi3ForCausalLM", {"sliding_window": 32}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {**EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", EXPERTS),
    "seed_oss": ("SeedOssForCausalLM", {}),
    "starcoder2": ("Starcoder2ForCausalLM", {"sliding_window": 32}),
}
CLOSE = 1e-4
SEEN = 1e-4  # the least that a neighbour which is seen changes


@pytest.fixture(scope="module")
def cases():
    """Return what prove_packing.py reads of each class."""
    spec = util.spec_from_file_location("measure", HERE / "measure.py")
    measure = util.module_from_spec(spec)
    spec.loader.exec_module(measure)
    kinds, tokenizers = measure.read()
    made = {name: (msgspec.to_builtins(kind), tokenizers[kind.tokens]) for name, kind in kinds.items()}
    for name, (architecture, config) in OTHERS.items():
        kind = {"architecture": architecture, "config": {**SMALL, **config, "model_type": name}}
        made[name] = (kind, tokenizers["chatml"])
    return {name: {"class": kind, "tokenizer": tokenizer} for name, (kind, tokenizer) in made.items()}


def measured(python, cases):
    """Return what was measured of each class, in the environment of this interpreter."""
    argv = [python, HERE / "prove_packing.py", SCRIPTS]
    done = subprocess.run(argv, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {line.pop("name"): line for line in map(json.loads, done.stdout.splitlines())}


def is_apart(found):
    """Tell whether samples neither see their neighbours nor give other logits or another loss than alone.

    One whose neighbours could not be seen in any case would tell nothing.
    """
    assert found["masked"] > SEEN, found
    return max(found["changed"], found["apart"], found["loss"]) < CLOSE


@pytest.mark.framework
def test_packing_keeps_samples_of_one_class_apart_and_mixes_those_of_another(training_python, cases):
    found = measured(training_python, {name: cases[name] for name in ("qwen3", "qwen3_next")})
    assert {name: is_apart(each) for name, each in found.items()} == {"qwen3": True, "qwen3_next": False}


@pytest.mark.framework
@pytest.mark.matrix
def test_the_table_of_packing_says_what_each_class_does(training_python, cases):
    found = measured(training_python, cases)
    assert not {name: each["error"] for name, each in found.items() if "error" in each}
    apart = sorted(name for name, each in found.items() if is_apart(each))
    table = packing_table()
    assert sorted([*table.apart, *table.apart_with_transformers5]) == apart
    assert sorted(kind for kinds in table.together.values() for kind in kinds) == sorted(found.keys() - set(apart))


@pytest.mark.framework
@pytest.mark.matrix
def test_with_transformers4_the_table_of_packing_holds_for_the_classes_that_it_has(cases):
    found = measured(default_folder("transformers4") / "bin" / "python", cases)
    apart = {name for name, each in found.items() if "error" not in each and is_apart(each)}
    mixed = {name for name, each in found.items() if "error" not in each and name not in apart}
    table = packing_table()
    assert {"qwen2", "llama", "mistral"} <= apart <= set(table.apart)
    assert mixed & {*table.apart, *table.apart_with_transformers5} == set(table.apart_with_transformers5)
