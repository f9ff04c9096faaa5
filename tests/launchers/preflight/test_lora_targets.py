"""Which layers get an adapter, by default and by name; real models of many classes are in test_estimate.py."""

import pytest

from ftbridge.launchers.preflight.lora_targets import target_checks
from ftbridge.launchers.scripts.lora_targets import default_targets, shortest_targets

from ...builders.plans import plan  # noqa: TID252

DENSE = {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj"}
LAYER = "model.layers.0"


def chosen(*linear, parameters=()):
    """Return the layers that get an adapter, of these in one layer of a model."""
    linear = [f"{LAYER}.{name}" for name in linear]
    found = default_targets(linear, {*linear, *(f"{LAYER}.{name}" for name in parameters)})
    return {name.removeprefix(f"{LAYER}.") for name in found}


def test_dense_model_adapts_all_linear_layers_but_the_output_layer():
    heads = ["lm_head", "output", "model.output", "transformer.output_layer", "head"]
    names = [f"{LAYER}.{name}" for name in sorted(DENSE)]
    assert default_targets([*names, *heads], {*names, *heads}) == names


@pytest.mark.parametrize(
    "names",
    [
        ["mlp.gate", "mlp.experts.0.up_proj", "mlp.shared_expert_gate"],
        ["feed_forward.router", "feed_forward.experts.up_proj"],
        ["block_sparse_moe.router.layer", "block_sparse_moe.experts.0.w1"],
        ["mlp.router.gate", "mlp.router.classifier", "self_attn.indexer.wq_b"],
    ],
)
def test_routers_and_experts_get_no_adapter(names):
    kept = {*DENSE, "mlp.shared_experts.up_proj"}
    assert chosen(*names, *kept) == kept


def test_a_layer_called_gate_is_a_router_only_before_experts():
    assert chosen("mlp.gate", *DENSE) == {"mlp.gate", *DENSE}


def test_out_proj_gets_an_adapter_in_linear_attention_but_not_in_mamba():
    layers = ["mamba.in_proj", "mamba.out_proj", "linear_attn.out_proj", "self_attn.out_proj"]
    found = chosen(*layers, parameters=["mamba.D", "mamba.A_log", "linear_attn.A_log"])
    assert found == {*layers} - {"mamba.out_proj"}


@pytest.mark.parametrize("other", ["model.visual.blocks.0.attn.qkv", "vision_tower.layers.0.q_proj", "audio_tower.fc1"])
def test_composite_model_adapts_its_text_model_alone(other):
    inner = "model.language_model.layers.0.self_attn.q_proj"
    projector = "model.connector.linear_1"
    assert default_targets([inner, other, projector], {inner, other, projector}) == [inner]
    outer = f"{LAYER}.self_attn.q_proj"
    assert default_targets([outer, other], {outer, other}) == [outer]


def test_peft_is_told_the_last_name_of_a_dense_models_layers_and_in_a_mixture_one_more():
    dense = [f"model.layers.{number}.{name}" for number in range(3) for name in DENSE]
    assert shortest_targets(dense, [*dense, "model.norm"]) == ["gate_proj", "o_proj", "q_proj"]
    assert shortest_targets(dense, [*dense, f"{LAYER}.mlp.experts"]) == sorted(DENSE)


def test_peft_is_told_as_much_as_tells_a_layer_from_others():
    wanted = ["a.text.0.q_proj", "a.text.0.mlp.up_proj"]
    assert shortest_targets(wanted, [*wanted, "a.image.0.q_proj"]) == ["text.0.q_proj", "up_proj"]


MODEL = {
    "model.embed_tokens.weight": (100, 8),
    f"{LAYER}.self_attn.q_proj.weight": (8, 8),
    f"{LAYER}.self_attn.q_norm.weight": (8,),
    f"{LAYER}.mlp.gate.weight": (4, 8),
    f"{LAYER}.mlp.experts.gate_proj.weight": (4, 8, 8),
    f"{LAYER}.mlp.experts.w1.weight": (4, 8, 8),
    f"{LAYER}.mlp.shared_experts.gate_proj.weight": (8, 8),
    f"{LAYER}.mixer.D": (8,),
    f"{LAYER}.mixer.out_proj.weight": (8, 8),
}


def refused(*targets, tensors=MODEL, model_type="glm4_moe", transformers="5.24.0"):
    checks = target_checks(plan(lora_targets=targets), {"model_type": model_type}, tensors, transformers)
    assert all(check.status == "failure" for check in checks)
    assert all(check.remedy.endswith("take from gate_proj, q_proj") for check in checks)
    return [check.found for check in checks]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("w1", "is of experts that are kept in one tensor"),
        ("gate", "is a router"),
        ("out_proj", "is that of Mamba layers"),
        ("q_norm", "is not a linear layer"),
        ("q_porj", "the model has no layer"),
        ("proj", "the model has no layer"),
    ],
)
def test_a_target_that_gets_no_adapter_is_refused_by_name(target, why):
    (found,) = refused("q_proj", target)
    assert why in found
    assert f"`{target}`" in found


def test_targets_that_are_there_are_let_through():
    assert refused() == refused("q_proj", "gate_proj", "embed_tokens", "self_attn.q_proj") == []


def test_a_path_that_differs_from_the_files_is_let_through():
    assert refused("model.language_model.layers.0.self_attn.q_proj") == []
    # PEFT would find the one and pass over the other.
    assert len(refused("attention.q_proj", "self_attn.q_proj")) == 1


def test_experts_of_transformers_4_are_linear_layers_that_can_be_merged():
    assert refused("w1", tensors={**MODEL, f"{LAYER}.mlp.experts.0.w1.weight": (8, 8)}, transformers="4.57.1") == []


def test_target_names_that_transformers_5_renames_are_not_refused():
    assert refused("q_a_proj", model_type="deepseek_v4") == []
    assert len(refused("q_a_proj", model_type="deepseek_v4", transformers="4.57.1")) == 1
