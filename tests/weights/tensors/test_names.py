"""Names: what the files call what a training has trained."""

import pytest

from ftbridge.weights.tensors.names import is_beside_text, name_in_files

Q = "layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (f"model.{Q}", f"model.{Q}"),
        (f"model.{Q}", f"model.language_model.{Q}"),  # Qwen 3.5, the text model alone
        (f"model.{Q}", f"language_model.model.{Q}"),
        (f"model.language_model.{Q}", f"language_model.model.{Q}"),  # Gemma 3 in memory, and as published
        (f"model.language_model.{Q}", f"model.{Q}"),  # onto the text model alone
        ("lm_head.weight", "language_model.lm_head.weight"),
        ("model.visual.blocks.0.attn.qkv.weight", "visual.blocks.0.attn.qkv.weight"),
        ("model.vision_tower.encoder.layers.0.q.weight", "vision_tower.vision_model.encoder.layers.0.q.weight"),
        ("transformer.h.0.attn.weight", "h.0.attn.weight"),
        ("model.layers.0.mlp.gate.weight", "model.layers.0.block_sparse_moe.gate.weight"),
        ("model.layers.0.mixer.in_proj.weight", "backbone.layers.0.mixer.in_proj.weight"),  # Nemotron-H
        ("model.layers.1.mlp.shared_experts.up_proj.weight", "model.layers.1.mlp.shared_mlp.up_proj.weight"),  # Hy3
        (
            "model.layers.0.self_attn.forget_gate.f_a_proj.weight",
            "model.layers.0.self_attn.f_a_proj.weight",
        ),  # Kimi Linear
        ("model.layers.0.mlp.gate_proj.weight", "model.layers.0.block_sparse_moe.gate_proj.weight"),  # Kimi Linear
        (
            "model.layers.0.self_attn.compressor.gate_proj.weight",
            "model.layers.0.attn.compressor.wgate.weight",
        ),  # DeepSeek V4
        (
            "model.layers.0.mlp.shared_experts.gate_proj.weight",
            "model.layers.0.ffn.shared_experts.w1.weight",
        ),  # DeepSeek V4
        ("model.layers.0.self_attn.q_a_proj.weight", "model.layers.0.attn.wq_a.weight"),  # DeepSeek V4
    ],
)
def test_a_tensor_is_found_under_the_name_that_the_files_have(name, file):
    assert name_in_files(name, {file, "norm.weight"}) == file


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (f"model.{Q}", f"vision_tower.vision_model.encoder.{Q}"),  # the tower has layers of the same name
        (f"model.{Q}", f"model.vision_tower.encoder.{Q}"),
        (f"model.{Q}", f"model.{Q.replace('0', '1')}"),
        ("model.norm.weight", "model.visual.norm.weight"),
    ],
)
def test_tensor_of_another_part_is_not_found_under_a_name(name, file):
    assert name_in_files(name, {file}) == ""


def test_a_composites_other_parts_are_told_from_its_text_model():
    text = (f"model.language_model.{Q}", f"language_model.model.{Q}", "lm_head.weight", "language_model.lm_head.weight")
    assert not any(map(is_beside_text, text))
    assert all(map(is_beside_text, ("model.visual.pos_embed.weight", "vision_tower.a.weight", "mtp.fc.weight")))
