"""The memory estimate: part by part, and against the bytes of real tensors."""

import contextlib
import json
import math
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import shapes
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.backends import xtuner
from ftbridge.launchers.environment.venv import installed_versions
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.preflight.memory_estimate import (
    GIB,
    Memory,
    adapter_shapes,
    checkpoint_size,
    count_parameters,
    estimate_memory,
)
from ftbridge.launchers.preflight.model import shapes_in_memory
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.launchers.training.prepare import prepare
from ftbridge.templates.render import deepspeed_config

from ...builders.plans import plan  # noqa: TID252
from .memory_tables import memory as states
from .memory_tables import shapes as qwen

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
CUDA = int(0.6 * GIB)
HALF = {"bf16": {"enabled": True}}
CASES = [
    {"method": "qlora", "bits": 4, "double": True, "dora": False},
    {"method": "qlora", "bits": 4, "double": False, "dora": False},
    {"method": "qlora", "bits": 8, "double": True, "dora": False},
    {"method": "lora", "bits": 4, "double": True, "dora": True},
    {"method": "full", "bits": 4, "double": True, "dora": False},
]
ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
DENSE = [*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SHARED = [f"mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down")]
LINEAR = [("in", "_ba"), ("in", "_qkvz"), ("out", "")]
# What gets an adapter in mixtures of experts: never a router, an expert, or the `out_proj` of Mamba.
TARGETS = {
    "qwen3_moe": ATTENTION,
    "gpt_oss": ATTENTION,
    "glm4_moe": [*DENSE, *(name.replace("expert", "experts") for name in SHARED)],
    "llama4_text": [*ATTENTION, *(name.replace("mlp.", "feed_forward.") for name in [*DENSE[4:], *SHARED])],
    "qwen3_next": [
        *ATTENTION,
        *SHARED,
        *(f"linear_attn.{name}" for name in ("in_proj_ba", "in_proj_qkvz", "out_proj")),
    ],
    "granitemoehybrid": [*ATTENTION, "mamba.in_proj", "shared_mlp.input_linear", "shared_mlp.output_linear"],
    "nemotron_h": [
        *(f"mixer.{name}_proj" for name in ("q", "k", "v", "o", "in", "up", "down")),
        *("mixer.shared_experts.up_proj", "mixer.shared_experts.down_proj"),
    ],
}


def memory(zero=None, processes=1, shapes=SHAPES, config=CONFIG, machine=None, deepspeed=HALF, **spec):
    deepspeed = {**deepspeed, "zero_optimization": zero} if zero else None
    machine = machine or Devices("cuda", processes, "bfloat16")
    return estimate_memory(plan(deepspeed=deepspeed, machine=machine, lora_rank=8, **spec), shapes, config)


@pytest.mark.framework
@pytest.mark.parametrize(
    ("backend", "dtype"), [("xtuner", "bfloat16"), ("llamafactory", "bfloat16"), ("llamafactory", "float32")]
)
def test_memory_estimate_is_within_a_hundredth_of_real_tensors(project, training_python, tmp_path, backend, dtype):
    """Of a dense model in each way, and of mixtures of experts, whose adapters are where they should be."""
    base = tmp_path / "base"
    base_model(base, training_python, ["What is aspirin for?"], hidden=512, layers=2)
    maker = Path(__file__).parents[2] / "builders" / "tiny_models.py"
    subprocess.run([training_python, maker, base, tmp_path, *TARGETS], capture_output=True, check=True)
    plans, cases = [], []
    for name, case in [*(("base", case) for case in CASES), *((name, CASES[0]) for name in TARGETS)]:
        spec = {"quantization_bits": case["bits"], "double_quantization": case["double"], "dora": case["dora"]}
        with contextlib.chdir(project):
            ready = prepare(
                backend=backend,
                model=str(tmp_path / name),
                dataset="medqa",
                template="qwen2.5",
                tokens="native",
                device="cpu",
                dtype=dtype,
                method=case["method"],
                **spec,
            )
        config = tmp_path / f"{len(cases)}-{Path(next(iter(ready.launch.files))).name}"
        config.write_text(next(iter(ready.launch.files.values())))
        plans.append(ready.plan)
        cases.append({**case, "config": str(config)})
    script = Path(__file__).with_name("real_bytes.py")
    done = subprocess.run(
        [training_python, script, backend, dtype, json.dumps(cases)],
        env={**os.environ, **CHILD_ENV, "PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    version = installed_versions(training_python)["transformers"]
    for case, planned, real in zip(cases, plans, json.loads(done.stdout.splitlines()[-1]), strict=True):
        model = planned.model
        wanted = TARGETS.get(model.name, DENSE if case["method"] != "full" else [])
        assert (real.pop("targets"), real.pop("idle")) == (sorted(wanted), []), model.name
        config = read_json(model / "config.json")
        found = estimate_memory(planned, shapes_in_memory(shapes(model), planned, config, version), config)
        for part, size in real.items():
            assert getattr(found, part) == pytest.approx(size, rel=0.01), (model.name, case, part, real, found)


@pytest.mark.framework
def test_model_states_are_deepspeeds_own_estimate(training_python):
    """Full tuning of a 7B model: what ZeRO-2 and 3 share out, on the GPU and, offloaded, in main memory.

    Compared are weights, gradients and optimiser, and ZeRO-3's gathered layer; not buckets, activations and CUDA, which
    DeepSpeed leaves out. Its factor for main memory is left out here: the pre-flight warns by it. From five processes
    on it has each hold the whole model there in float32 under ZeRO-2, which is not how either framework loads it.
    """
    shapes = qwen("7B")
    total, largest = sum(map(math.prod, shapes.values())), max(map(math.prod, shapes.values()))
    code = (
        "import json\n"
        "from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as two\n"
        "from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as three\n"
        f"total, largest, options = {total}, {largest}, {{'additional_buffer_factor': 1}}\n"
        "result = {}\n"
        "for n in (1, 2, 8):\n"
        "    result[f'zero2 {n}'] = two(total, n, cpu_offload=False, **options)\n"
        "    result[f'zero2-offload {n}'] = two(total, n, **options)\n"
        "    result[f'zero3 {n}'] = three(total, largest, n, cpu_offload=False, **options)[:2]\n"
        "    result[f'zero3-offload {n}'] = three(total, largest, n, **options)[:2]\n"
        "print(json.dumps(result))\n"
    )
    environment = {**os.environ, "DS_IGNORE_CUDA_DETECTION": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([training_python, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for case, (main, gpu) in json.loads(done.stdout.splitlines()[-1]).items():
        name, processes = case.split()
        found = states("7B", int(processes), method="full", deepspeed=name)
        gathered = 4 * largest if "zero3" in name else 0
        assert found.certain + gathered == pytest.approx(gpu, rel=0.02), (case, found)
        if "offload" in name and case != "zero2-offload 8":
            assert int(processes) * found.host == pytest.approx(main, rel=0.02), (case, found)


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


@pytest.mark.parametrize(
    ("config", "machine", "size"),
    [
        ({}, Devices("cuda", 1, "bfloat16"), 2),
        ({"torch_dtype": "float16"}, Devices("cuda", 1, "bfloat16"), 2),
        ({"torch_dtype": "float32"}, Devices("cuda", 1, "bfloat16"), 4),
        ({"text_config": {"dtype": "float32"}}, Devices("cuda", 1, "float16"), 4),
        ({"torch_dtype": "bfloat16"}, Devices("cpu", 1, "float32"), 4),
    ],
)
def test_llamafactory_loads_the_dtype_of_the_config_or_float32(config, machine, size):
    options = {"config": CONFIG | config, "machine": machine, "backend": "llamafactory", "method": "lora"}
    assert memory(**options).weights == size * (QUANTIZED + OTHERS)
    if machine.device == "cuda":
        assert memory(**options, zero={"stage": 2}).weights == 2 * (QUANTIZED + OTHERS)


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
def test_optimizer_state_has_the_size_of_its_kind(optimizer, size):
    assert memory(method="full", shapes={"a.weight": (64, 128)}, optimizer=optimizer).optimizer == size


def test_eight_bit_adam_keeps_small_tensors_whole():
    assert memory(method="full", shapes={"a.weight": (128,)}, optimizer="paged_adamw_8bit").optimizer == 8 * 128


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"), [(0, 2, 6, 12), (1, 2, 3, 3), (2, 2, 1.5, 3), (3, 0.5, 1, 3)]
)
def test_zero_shares_out_more_with_each_stage(stage, weights, gradients, optimizer):
    """In bytes a value, on four processes: the gradient is there in 16 bits and, for the step, in 32."""
    found = memory(zero={"stage": stage}, method="full", processes=4)
    numbers = QUANTIZED + OTHERS
    expected = (weights * numbers, gradients * numbers, optimizer * numbers)
    assert (found.weights, found.gradients, found.optimizer) == expected


def test_zero_keeps_float32_weights_of_its_own_beside_those_in_float32():
    found = memory(zero={"stage": 2}, method="full", machine=Devices("cpu", 1, "float32"), deepspeed={})
    assert found.optimizer == 12 * (QUANTIZED + OTHERS)


def test_offload_moves_to_the_machines_memory():
    cpu, numbers = {"device": "cpu"}, QUANTIZED + OTHERS
    moved = memory(zero={"stage": 3, "offload_optimizer": cpu, "offload_param": cpu}, method="full", processes=2)
    assert (moved.certain, moved.host) == (0, 18 * numbers / 2)
    second = memory(zero={"stage": 2, "offload_optimizer": cpu}, method="full", processes=2)
    assert (second.certain, second.host) == (2 * numbers, 16 * numbers / 2)
    disk = memory(zero={"stage": 3, "offload_optimizer": {"device": "nvme"}}, method="full")
    assert (disk.optimizer, disk.host) == (0, 0)
    kept = memory(zero={"stage": 2, "offload_optimizer": {"device": "none"}}, method="full", backend="llamafactory")
    assert kept.host == 0


def test_offload_moves_nothing_on_the_cpu():
    zero = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    found = memory(zero=zero, method="full", machine=Devices("cpu", 1, "bfloat16"))
    assert (found.optimizer, found.host) == (12 * (QUANTIZED + OTHERS), 0)


def test_xtuner_loads_into_main_memory_what_it_does_not_quantise():
    numbers = QUANTIZED + OTHERS
    assert memory(method="lora").host == memory(method="full").host == 4 * numbers
    assert memory(method="lora", zero={"stage": 2}).host == 4 * numbers
    assert memory(method="full", zero={"stage": 2}).host == 2 * numbers
    assert memory(method="full", zero={"stage": 3}).host == 0
    assert memory(method="lora", backend="llamafactory").host == memory().host == 0
    assert memory(method="lora", machine=Devices("cpu", 1, "float32")).host == 0


@pytest.mark.parametrize(("backend", "loaded"), [("xtuner", 4), ("llamafactory", 2)])
def test_four_bits_are_whole_in_each_process_before_zero_3_shares_them_out(backend, loaded):
    options = {"backend": backend, "config": {}, "processes": 8}
    found = memory(zero={"stage": 3, "reduce_bucket_size": 0, "stage3_max_live_parameters": 0}, **options)
    one = memory(backend="llamafactory")
    whole = one.weights + 2 * ADAPTER
    assert found.total == found.start == whole + CUDA + int(0.05 * whole)
    assert found.weights == -(-one.weights // 8)
    assert found.host == one.weights + (loaded - 2) * OTHERS
    assert memory(zero={"stage": 2}, **options).start == 0


def test_several_processes_without_deepspeed_have_their_gradients_twice():
    one, two = memory(processes=1), memory(processes=2)
    assert two.buffers - one.buffers == two.gradients == 4 * ADAPTER


@pytest.mark.parametrize(
    ("zero", "values"),
    [
        ({"stage": 1}, 500_000_000),
        ({"stage": 2, "reduce_bucket_size": 2e8}, 200_000_000),
        ({"stage": 2, "reduce_bucket_size": 1000, "overlap_comm": True}, 2000),
        ({"stage": 2, "contiguous_gradients": False}, 0),
        ({"stage": 0}, 0),
        ({"stage": 1, "reduce_bucket_size": "much"}, 500_000_000),
    ],
)
def test_deepspeeds_reduce_bucket_is_counted_as_its_config_says(zero, values):
    assert memory(zero=zero).buffers == 2 * values


@pytest.mark.parametrize(("backend", "bucket"), [("xtuner", 50_000_000), ("llamafactory", 128**2)])
def test_automatic_reduce_bucket_has_the_size_that_the_backend_sets(backend, bucket):
    found = memory(zero={"stage": 2, "reduce_bucket_size": "auto"}, backend=backend)
    assert found.buffers == 2 * bucket
    if backend == "xtuner":
        zero = {"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}}
        planned = plan(deepspeed=zero)
        entry = msgspec.structs.replace(planned.entry, files={"xtuner": "faq.jsonl"})
        rendered = json.loads(xtuner.render(msgspec.structs.replace(planned, entry=entry))["deepspeed.json"])
        assert rendered["zero_optimization"]["reduce_bucket_size"] == bucket


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero2-offload"])
def test_the_shipped_configs_have_buckets_of_less_than_half_a_gib(name):
    assert deepspeed_config(name)["zero_optimization"]["reduce_bucket_size"] == 200_000_000


def test_reduce_bucket_on_the_cpu_is_counted_by_its_content():
    found = memory(zero={"stage": 2}, machine=Devices("cpu", 2, "bfloat16"))
    assert found.buffers == 2 * ADAPTER


def test_zero_3_gathers_a_layer_with_its_gradient_or_all_that_may_live():
    zero = {"stage": 3, "reduce_bucket_size": 0}
    assert memory(zero=zero, method="full").buffers == 2 * (QUANTIZED + OTHERS)
    few = zero | {"stage3_max_live_parameters": 1000}
    assert memory(zero=few, method="full").buffers == 4 * 128_000
    assert memory(zero=few, method="lora").buffers == 2 * 128_000


def test_autocast_copies_what_is_trained_and_what_backward_wants_of_frozen_float32():
    head, adapter = 2 * 128_000, 2 * ADAPTER
    assert memory().buffers == adapter + head
    assert memory(backend="llamafactory").buffers == adapter
    assert memory(backend="llamafactory", config=CONFIG | {"torch_dtype": "float32"}).buffers == adapter + head
    assert memory(method="lora").buffers == adapter + head + 2 * QUANTIZED // 4
    assert memory(method="lora", gradient_checkpointing=False).buffers == adapter + head + 2 * QUANTIZED
    assert memory(method="full").buffers == 2 * QUANTIZED + head
    tied = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    assert memory(shapes=tied).buffers == adapter + head
    assert memory(machine=Devices("cuda", 1, "float32")).buffers == 0
    assert memory(machine=Devices("cpu", 1, "bfloat16")).buffers == 0


def test_cuda_context_is_counted_on_a_gpu_and_not_on_the_cpu():
    found = memory()
    assert found.context == CUDA + int(0.05 * (found.total - found.context))
    assert memory(machine=Devices("cpu", 1, "float32")).context == 0


def test_activations_follow_the_stated_formula():
    tokens, layer, adapter = 2 * 100, 16 * 128 + 2 * (4 * 128 + 128 + 3 * 512), 2 * (6 * 128 + 512)
    options = {"micro_batch_size": 2, "cutoff_length": 100, "backend": "llamafactory", "method": "lora"}
    assert memory(**options).activations == tokens * (4 * 128 * 2 + layer + adapter + 12 * 1000)
    without = memory(**options, gradient_checkpointing=False)
    assert without.activations == tokens * (4 * (layer + adapter) + 12 * 1000)
    eager = memory(**options, attention="eager")
    assert eager.activations - memory(**options).activations == tokens * 6 * 4 * 100
    in_float32 = memory(**options, machine=Devices("cpu", 1, "float32"))
    layer = 16 * 128 + 4 * (4 * 128 + 128 + 3 * 512) + 4 * (6 * 128 + 512)
    assert in_float32.activations == tokens * (4 * 128 * 4 + layer + 12 * 1000)
    assert memory(**{**options, "method": "qlora"}).activations - memory(**options).activations == 2 * 128 * 512


def test_config_with_other_size_names_is_known_and_missing_sizes_are_told():
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


@pytest.mark.parametrize("size", [0, -1, 1 << 41, 10**400, "4", None])
def test_a_size_that_no_model_has_is_unknown(size):
    assert "activations unknown" in str(memory(config=CONFIG | {"num_hidden_layers": size}))


def test_memory_estimate_is_printed_part_by_part():
    parts = {"weights": GIB, "adapters": 0, "gradients": 0, "optimizer": GIB // 2, "activations": GIB}
    assert str(Memory(**parts, buffers=GIB // 4, context=GIB // 4, start=4 * GIB, host=GIB)) == (
        "about 4.00 GiB a process (weights 1.00, adapters 0.00, gradients 0.00, optimizer 0.50, buffers 0.25, "
        "activations 1.00, context 0.25; 4.00 GiB at the start, before ZeRO-3 shares the weights out; "
        "1.00 GiB a process in the machine's memory); activations were not yet measured on a GPU"
    )
    assert str(Memory(**parts)).startswith("about 2.50 GiB a process (weights 1.00, ")


def test_parameters_are_counted_with_the_adapter_as_peft_counts_them():
    assert count_parameters(plan(lora_rank=8), SHAPES) == (ADAPTER, QUANTIZED + OTHERS + ADAPTER)
    assert count_parameters(plan(lora_rank=8, method="qlora"), SHAPES) == (ADAPTER, QUANTIZED + OTHERS + ADAPTER)
    assert count_parameters(plan(method="full"), SHAPES) == (QUANTIZED + OTHERS, QUANTIZED + OTHERS)


def test_a_checkpoint_holds_what_is_trained_and_the_optimisers_state():
    assert checkpoint_size(plan(lora_rank=8), SHAPES) == 12 * ADAPTER
    assert checkpoint_size(plan(method="full", deepspeed=HALF), SHAPES) == 14 * (QUANTIZED + OTHERS)


@pytest.mark.parametrize(
    "changed", [{"num_attention_heads": 0}, {"hidden_size": -896}, {"text_config": [1, 2]}, {"text_config": "abc"}]
)
def test_odd_model_config_leaves_activations_unknown_without_a_traceback(changed):
    found = memory(config={**CONFIG, **changed})
    assert (found.activations is None) is ("text_config" not in changed)


EXPERTS = {"model.layers.0.mlp.experts.gate_proj.weight": (4, 512, 128), "model.layers.0.mlp.gate.weight": (4, 128)}


def test_experts_in_one_tensor_and_routers_are_not_quantised():
    more = 2 * (4 * 512 * 128 + 4 * 128)
    dense, mixed = memory(backend="llamafactory"), memory(backend="llamafactory", shapes=SHAPES | EXPERTS)
    assert mixed.weights - dense.weights == more
    assert memory(shapes=SHAPES | EXPERTS).weights - memory().weights == 2 * more
    assert mixed.adapters == dense.adapters
    assert memory(shapes=SHAPES | EXPERTS).buffers - memory().buffers == 2 * 4 * 512 * 128 // 4


@pytest.mark.parametrize(
    ("changed", "wide"),
    [
        ({"num_experts_per_tok": 2}, 2 * 512),
        ({"moe_intermediate_size": 100, "num_experts_per_token": 3, "n_shared_experts": 1}, 512),
        ({"moe_intermediate_size": 200, "moe_k": 3, "num_shared_experts": 1}, 800),
        ({"intermediate_size": None, "moe_intermediate_size": 64, "num_experts_per_tok": 8}, 512),
        ({"moe_intermediate_size": 300, "num_experts_per_tok": 2, "shared_expert_intermediate_size": 60}, 660),
        ({"num_experts_per_tok": "many"}, 512),
    ],
)
def test_a_token_passes_through_the_experts_that_it_is_given(changed, wide):
    assert (
        memory(config=CONFIG | changed).activations == memory(config=CONFIG | {"intermediate_size": wide}).activations
    )
