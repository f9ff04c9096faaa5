"""The memory estimate: part by part, and against the bytes of real tensors."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from ftbridge.demo import base_model
from ftbridge.launchers.environment import HELPERS
from ftbridge.launchers.estimate import GIB, Memory, adapter_shapes, checkpoint_size, estimate
from ftbridge.launchers.machine import Machine
from ftbridge.launchers.model_files import read_json, shapes
from ftbridge.launchers.train import prepare

from .test_plan import plan

LAYER = {
    "model.layers.0.self_attn.q_proj.weight": (256, 128),
    "model.layers.0.self_attn.q_proj.bias": (256,),
    "model.layers.0.mlp.down_proj.weight": (128, 512),
    "model.layers.0.input_layernorm.weight": (128,),
}
SHAPES = {"model.embed_tokens.weight": (1000, 128), "lm_head.weight": (1000, 128), **LAYER}
CONFIG = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
QUANTIZED, OTHERS = 256 * 128 + 128 * 512, 2 * 128_000 + 256 + 128
ADAPTER = 8 * (256 + 128 + 128 + 512)
HALF = {"bf16": {"enabled": True}}
CASES = [
    {"method": "qlora", "bits": 4, "double": True, "dora": False},
    {"method": "qlora", "bits": 4, "double": False, "dora": False},
    {"method": "qlora", "bits": 8, "double": True, "dora": False},
    {"method": "lora", "bits": 4, "double": True, "dora": True},
    {"method": "full", "bits": 4, "double": True, "dora": False},
]


def memory(zero=None, processes=1, shapes=SHAPES, config=CONFIG, backend="xtuner", **spec):
    deepspeed = {**HALF, "zero_optimization": zero} if zero else None
    planned = plan(deepspeed=deepspeed, machine=Machine("cuda", processes, "bfloat16"), lora_rank=8, **spec)
    planned = msgspec.structs.replace(planned, spec=msgspec.structs.replace(planned.spec, backend=backend))
    return estimate(planned, shapes, config)


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_it_is_within_a_hundredth_of_real_tensors(project, training_python, tmp_path, backend):
    base = tmp_path / "base"
    base_model(base, training_python, ["What is aspirin for?"], hidden=512, layers=2)
    plans, cases = [], []
    for number, case in enumerate(CASES):
        spec = {"quantization_bits": case["bits"], "double_quantization": case["double"], "dora": case["dora"]}
        with contextlib.chdir(project):
            ready = prepare(
                backend=backend, model=str(base), dataset="medqa", device="cpu", method=case["method"], **spec
            )
        config = tmp_path / f"{number}-{Path(next(iter(ready.launch.files))).name}"
        config.write_text(next(iter(ready.launch.files.values())))
        plans.append(ready.plan)
        cases.append({**case, "config": str(config)})
    script = Path(__file__).with_name("real_bytes.py")
    done = subprocess.run(
        [training_python, script, backend, json.dumps(cases)],
        env={**os.environ, "PYTHONPATH": str(HELPERS), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for case, planned, real in zip(cases, plans, json.loads(done.stdout.splitlines()[-1]), strict=True):
        found = estimate(planned, shapes(base), read_json(base / "config.json"))
        for part, size in real.items():
            assert getattr(found, part) == pytest.approx(size, rel=0.01), (case, part, real, found)


def test_four_bits_come_in_blocks_with_a_maximum_each():
    blocks = QUANTIZED // 64
    found = memory(backend="llamafactory", double_quantization=False)
    assert found.weights == QUANTIZED // 2 + 4 * blocks + 2 * 64 + 2 * OTHERS
    twice = memory(backend="llamafactory")
    assert twice.weights == QUANTIZED // 2 + blocks + 4 * (2 + 4) + 2 * (4 + 1024 + 64) + 2 * OTHERS


def test_eight_bits_have_a_scale_for_each_row():
    assert memory(backend="llamafactory", quantization_bits=8).weights == QUANTIZED + 4 * (256 + 128) + 2 * OTHERS


def test_xtuner_keeps_in_float32_what_is_not_quantised():
    assert memory(method="lora").weights == 4 * (QUANTIZED + OTHERS)
    assert memory(method="lora", backend="llamafactory").weights == 2 * (QUANTIZED + OTHERS)


def test_an_adapter_is_two_matrices_a_layer_and_only_where_it_is_wanted():
    assert memory().adapters == memory().gradients == 4 * ADAPTER
    assert memory().optimizer == 8 * ADAPTER
    assert memory(lora_targets=("q_proj",)).adapters == 4 * 8 * (256 + 128)
    assert memory(lora_targets=("proj",)).adapters == 0
    assert memory(dora=True).adapters == 4 * (ADAPTER + 256 + 128)
    assert adapter_shapes(plan(lora_rank=8), LAYER)[:2] == [(8, 128), (256, 8)]


def test_full_tuning_has_no_adapter():
    found = memory(method="full")
    numbers = QUANTIZED + OTHERS
    assert (found.weights, found.adapters, found.gradients, found.optimizer) == (
        4 * numbers,
        0,
        4 * numbers,
        8 * numbers,
    )


@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        ("sgd", 0),
        ("adamw", 8 * 64 * 128),
        ("paged_adamw_32bit", 8 * 64 * 128),
        ("adamw_8bit", 2 * 64 * 128 + 8 * 32),
        ("adafactor", 4 * (64 + 128)),
    ],
)
def test_each_optimizer_keeps_its_own(optimizer, size):
    assert memory(method="full", shapes={"a.weight": (64, 128)}, optimizer=optimizer).optimizer == size


def test_eight_bit_adam_keeps_small_tensors_whole():
    assert memory(method="full", shapes={"a.weight": (128,)}, optimizer="paged_adamw_8bit").optimizer == 8 * 128


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"), [(1, 1, 1, 4), (2, 1, 4, 4), (3, 4, 4, 4), (0, 1, 1, 1)]
)
def test_zero_shares_out_more_with_each_stage(stage, weights, gradients, optimizer):
    one = memory(zero={"stage": stage}, method="full")
    numbers = QUANTIZED + OTHERS
    assert (one.weights, one.gradients, one.optimizer) == (2 * numbers, 2 * numbers, 12 * numbers)
    four = memory(zero={"stage": stage}, method="full", processes=4)
    assert (four.weights, four.gradients, four.optimizer) == (
        one.weights // weights,
        one.gradients // gradients,
        one.optimizer // optimizer,
    )


def test_offload_moves_to_the_machines_memory():
    cpu = {"device": "cpu"}
    kept = memory(zero={"stage": 3}, method="full")
    moved = memory(zero={"stage": 3, "offload_optimizer": cpu, "offload_param": cpu}, method="full")
    assert (moved.certain, moved.host) == (0, kept.certain)
    assert memory(zero={"stage": 2, "offload_optimizer": {"device": "none"}}, method="full").host == 0


def test_activations_follow_the_stated_formula():
    tokens, layer, adapter = 2 * 100, 16 * 128 + 2 * (4 * 128 + 128 + 3 * 512), 2 * (6 * 128 + 512)
    options = {"micro_batch_size": 2, "cutoff_length": 100, "backend": "llamafactory", "method": "lora"}
    assert memory(**options).activations == tokens * (4 * 128 * 2 + layer + adapter + 10 * 1000)
    without = memory(**options, gradient_checkpointing=False)
    assert without.activations == tokens * (4 * (layer + adapter) + 10 * 1000)
    eager = memory(**options, attention="eager")
    assert eager.activations - memory(**options).activations == tokens * 6 * 4 * 100
    assert memory(**{**options, "method": "qlora"}).activations - memory(**options).activations == 2 * 128 * 512


def test_other_names_of_the_sizes_are_known_and_missing_ones_say_so():
    chatglm = {
        "hidden_size": 128,
        "num_layers": 4,
        "ffn_hidden_size": 512,
        "num_attention_heads": 4,
        "multi_query_group_num": 2,
        "padded_vocab_size": 1000,
    }
    assert memory(config=chatglm) == memory()
    assert memory(config={"text_config": CONFIG}) == memory()
    assert memory(config={}).activations is None
    assert "activations unknown" in str(memory(config={}))


def test_it_is_shown_part_by_part():
    found = Memory(weights=GIB, adapters=0, gradients=0, optimizer=GIB // 2, activations=GIB, host=GIB)
    assert str(found) == (
        "about 2.50 GiB a process (weights 1.00, adapters 0.00, gradients 0.00, optimizer 0.50, activations 1.00; "
        "1.00 GiB a process in the machine's memory); activations were not yet measured on a GPU"
    )


def test_a_checkpoint_holds_what_is_trained_and_the_optimisers_state():
    assert checkpoint_size(plan(lora_rank=8), SHAPES) == 12 * ADAPTER
    assert checkpoint_size(plan(method="full", deepspeed=HALF), SHAPES) == 14 * (QUANTIZED + OTHERS)
