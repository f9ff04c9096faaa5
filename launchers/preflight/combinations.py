"""Options, models and machines that cannot go together in one training: each with why, and a remedy.

From llamafactory 0.9.5 (hparams/parser.py, model/model_utils/quantization.py), transformers 4.57.1
(training_args.py), accelerate 1.11 (_prepare_deepspeed) and deepspeed 0.19.4 (op_builder).
"""

from collections.abc import Iterator
from typing import Any, Literal

from ftbridge.core.plugins import load_backend
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan, offloads
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.hardware.host import cores, cuda_toolkit, processor
from ftbridge.launchers.hardware.nvidia import BFLOAT16_CAPABILITY
from ftbridge.launchers.preflight.memory_estimate import casts_to_16_bits, text_config
from ftbridge.launchers.preflight.model import is_before_transformers5

Conflicts = Iterator[tuple[Literal["warning", "failure"], str, str]]  # status, what was found, remedy


def combination_checks(plan: TrainPlan, config: dict[str, Any], installed: dict[str, str]) -> list[Check]:
    """Return a check for each combination that does not work; `installed` has versions by package."""
    found = [
        *_quantization_conflicts(plan, config),
        *_router_conflicts(plan, config, installed.get("transformers", "")),
        *_attention_conflicts(plan, installed),
        *_toolkit_conflicts(plan),
        *_wasteful_options(plan),
    ]
    return [Check("options", *each) for each in found] or [Check("options", "ok", _("compatible"))]


def _quantization_conflicts(plan: TrainPlan, config: dict[str, Any]) -> Conflicts:
    spec, stage = plan.spec, plan.zero_stage
    if spec.method == "qlora" and spec.quantization_bits == 8 and stage == 3:  # noqa: PLR2004
        yield (
            "failure",
            _("weights in 8 bits cannot be sharded by ZeRO-3"),
            _("use `--quantization-bits 4`, or `--deepspeed zero2`"),
        )
    if not config.get("quantization_config"):
        return
    how = _("the model itself is quantised already (`quantization_config` in its config.json)")
    original = _("take the model that it was made from")
    if spec.method == "full":
        yield (
            "failure",
            _("{how}, and quantised weights cannot be trained").format(how=how),
            _("use `--method lora`, or {original}").format(original=original),
        )
    elif spec.method == "qlora":
        yield (
            "failure",
            _("{how}, and cannot be quantised again").format(how=how),
            _("use `--method lora`, or {original}").format(original=original),
        )
    elif stage == 3:  # noqa: PLR2004
        yield (
            "failure",
            _("{how}, which ZeRO-3 cannot shard").format(how=how),
            _("use `--deepspeed zero2`, or {original}").format(original=original),
        )


def _router_conflicts(plan: TrainPlan, config: dict[str, Any], transformers: str) -> Conflicts:
    is_llama4 = text_config(config).get("model_type") == "llama4_text"
    if is_llama4 and plan.spec.method == "qlora" and is_before_transformers5(transformers):
        yield (
            "failure",
            _("transformers 4 quantises Llama 4's router, which then gives what the model cannot use"),
            _("use `--method lora`, or an environment with transformers 5"),
        )


def _attention_conflicts(plan: TrainPlan, installed: dict[str, str]) -> Conflicts:
    if plan.spec.attention != "flash_attention_2":
        return
    if plan.machine.device == "cpu" or not all(gpu.bfloat16 for gpu in plan.machine.gpus):
        found = _("flash_attention_2 needs a GPU of compute capability {bfloat16_capability}").format(
            bfloat16_capability=BFLOAT16_CAPABILITY
        )
        yield "failure", found, _("use `--attention sdpa`")
    elif plan.machine.dtype == "float32":
        yield (
            "failure",
            _("flash_attention_2 does not compute in float32"),
            _("use `--attention sdpa`, or another `--dtype`"),
        )
    elif "flash-attn" not in installed:
        yield (
            "failure",
            _("flash_attention_2 needs the package flash-attn, which is not in the training environment"),
            _("install a wheel of it there that fits its torch, or use `--attention sdpa`"),
        )


def _toolkit_conflicts(plan: TrainPlan) -> Conflicts:
    if plan.machine.device == "cuda" and _compiles_cpu_adam(plan) and not cuda_toolkit():
        yield (
            "failure",
            _("DeepSpeed compiles its CPU Adam for offload, which needs the CUDA toolkit (nvcc), not found here"),
            _("install it or set CUDA_HOME, or use `--deepspeed zero2`"),
        )


def _compiles_cpu_adam(plan: TrainPlan) -> bool:
    """Tell whether DeepSpeed compiles its CPU Adam: where the optimiser is offloaded and no other is allowed."""
    config = load_backend(plan.spec.backend).deepspeed_config(plan) or {}
    return config.get("zero_force_ds_cpu_optimizer", True) and offloads(config, "offload_optimizer")


def _wasteful_options(plan: TrainPlan) -> Conflicts:
    """Yield a warning for each option that makes a training slow, or that has not the effect that is meant."""
    spec = plan.spec
    name, has_bfloat16 = processor()
    if plan.machine.device == "cpu" and plan.machine.dtype == "bfloat16" and not has_bfloat16:
        yield (
            "warning",
            _("this processor ({name}) has no bfloat16 instructions and is many times slower in bfloat16").format(
                name=name
            ),
            _("leave `--dtype bfloat16` out; on the CPU, float32 is used"),
        )
    if plan.machine.device == "cpu" and plan.machine.processes > cores():
        yield (
            "warning",
            _("{processes} processes share {cores} cores, and each holds torch and the model").format(
                processes=plan.machine.processes, cores=cores()
            ),
            _("use at most `--gpus {cores}`").format(cores=cores()),
        )
    if spec.method == "full" and plan.machine.dtype == "float16":
        yield (
            "warning",
            _("full fine-tuning in float16 easily overflows, and the loss becomes nan"),
            _("use a GPU with bfloat16, or watch the loss"),
        )
    is_offloaded = plan.machine.gpus and offloads(plan.deepspeed, "offload_optimizer")
    if spec.method == "full" and is_offloaded and not _compiles_cpu_adam(plan):
        yield (
            "warning",
            _("offloaded, AdamW is PyTorch's here, slower on a CPU than the one that DeepSpeed compiles"),
            _("with nvcc, LLaMA-Factory takes DeepSpeed's from a file without `zero_force_ds_cpu_optimizer`"),
        )
    if spec.method == "full" and not casts_to_16_bits(plan) and plan.machine.processes > 1:
        yield (
            "warning",
            _("without DeepSpeed each process holds all weights, gradients and optimizer state in float32"),
            _("use `--deepspeed zero2` or zero3"),
        )
