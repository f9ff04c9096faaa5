"""What cannot go together, each provoked."""

import msgspec
import pytest

from ftbridge.launchers.hardware import host
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.preflight import combinations
from ftbridge.launchers.preflight.combinations import combination_checks

from ...builders.plans import plan  # noqa: TID252

A100, T4 = Gpu("A100", 81920, 8.0, "570.86"), Gpu("T4", 15360, 7.5, "570.86")
CPU = Devices("cpu", 1, "float32")
ZERO3 = {"bf16": {"enabled": True}, "zero_optimization": {"stage": 3}}
OFFLOAD = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
HALF = {"bf16": {"enabled": True}}
LLAMA4 = {"model_type": "llama4", "text_config": {"model_type": "llama4_text"}}
QUANTIZED = {"quantization_config": {"quant_method": "gptq"}}


def on(*gpus, dtype="bfloat16"):
    return Devices("cuda", len(gpus), dtype, gpus)


def found(machine=CPU, deepspeed=None, config=None, installed=None, backend="xtuner", **spec):
    """Return status and text of what was found, joined."""
    made = plan(machine=machine, deepspeed=deepspeed, **spec)
    made = msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, backend=backend))
    checks = combination_checks(made, config or {}, installed or {})
    return [f"{check.status}: {check.found} -> {check.remedy}" for check in checks if check.status != "ok"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"quantization_bits": 8, "deepspeed": ZERO3}, "8 bits cannot be sharded by ZeRO-3"),
        ({"config": QUANTIZED, "method": "full"}, "quantised weights cannot be trained"),
        ({"config": QUANTIZED}, "cannot be quantised again"),
        ({"config": QUANTIZED, "method": "lora", "deepspeed": ZERO3}, "which ZeRO-3 cannot shard"),
        ({"config": LLAMA4, "installed": {"transformers": "4.57.1"}}, "quantises Llama 4's router"),
        ({"attention": "flash_attention_2"}, "needs a GPU of compute capability 8.0"),
        ({"attention": "flash_attention_2", "machine": on(T4, dtype="float16")}, "compute capability 8.0"),
        ({"attention": "flash_attention_2", "machine": on(A100)}, "needs the package flash-attn"),
        ({"attention": "flash_attention_2", "machine": on(A100, dtype="float32")}, "does not compute in float32"),
    ],
)
def test_combination_that_cannot_work_is_a_failure_with_a_remedy(values, text):
    (only,) = found(**values)
    assert only.startswith("failure: ")
    assert text in only
    assert not only.endswith("-> ")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"method": "full", "machine": on(T4, dtype="float16")}, "loss becomes nan"),
        ({"method": "full", "machine": on(A100, A100)}, "each process holds all weights"),
        ({"method": "full", "machine": on(A100), "deepspeed": {**HALF, **OFFLOAD}}, "AdamW is PyTorch's here"),
    ],
)
def test_unwise_combination_is_a_warning(values, text):
    (only,) = found(**values)
    assert only.startswith("warning: ")
    assert text in only


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"deepspeed": ZERO3},
        {"config": QUANTIZED, "method": "lora"},
        {"config": LLAMA4, "installed": {"transformers": "4.57.1"}, "method": "lora"},
        {"config": LLAMA4, "installed": {"transformers": "5.24.0"}},
        {"machine": on(A100), "attention": "flash_attention_2", "installed": {"flash-attn": "2.8"}},
        {"machine": on(A100), "optimizer": "paged_adamw_8bit", "dtype": "bfloat16"},
        {"machine": on(A100, A100), "method": "full", "deepspeed": ZERO3},
    ],
)
def test_working_combination_gives_no_finding(values):
    assert found(**values) == []


@pytest.mark.parametrize(("processes", "told"), [(2, False), (3, True)])
def test_more_processes_than_cores_are_unwise(monkeypatch, processes, told):
    monkeypatch.setattr(combinations, "cores", lambda: 2)
    texts = found(machine=Devices("cpu", processes, "float32"), deepspeed=ZERO3)
    assert ["3 processes share 2 cores" in text for text in texts] == [True] * told


@pytest.mark.parametrize(
    ("instructions", "dtype", "told"), [(False, "bfloat16", True), (True, "bfloat16", False), (False, "float32", False)]
)
def test_bfloat16_on_a_processor_without_it_is_unwise(monkeypatch, instructions, dtype, told):
    monkeypatch.setattr(combinations, "processor", lambda: ("Core i5", instructions))
    texts = found(machine=Devices("cpu", 1, dtype))
    assert [text.startswith("warning: this processor (Core i5) has no bfloat16 instructions") for text in texts] == [
        True
    ] * told


def test_cuda_toolkit_is_needed_only_where_deepspeed_compiles(monkeypatch, tmp_path):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host, "CUDA_FOLDER", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    options = {"machine": on(A100), "deepspeed": OFFLOAD, "backend": "llamafactory"}
    assert "CUDA toolkit (nvcc)" in found(**options)[0]
    assert found(**{**options, "backend": "xtuner"}) == []
    assert found(**{**options, "deepspeed": {"zero_force_ds_cpu_optimizer": False, **OFFLOAD}}) == []
    assert found(**{**options, "machine": CPU}) == []
    monkeypatch.setenv("CUDA_HOME", "/cuda")
    assert found(**options) == []
