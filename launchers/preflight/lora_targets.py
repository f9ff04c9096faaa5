"""Whether the layers that `--lora-targets` names are there, and can be trained and merged."""

from collections.abc import Iterable
from typing import Any

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.preflight.memory_estimate import linear_layers, module_of
from ftbridge.launchers.preflight.model import is_older
from ftbridge.launchers.scripts.lora_targets import EXPERTS, ROUTER, default_targets, is_read_by_mamba_kernel

# Where transformers 5.24 (conversion_mapping.py) calls linear layers otherwise than the model's files do.
_RENAMED = {
    *("axk2", "bailing_hybrid", "deepseek_v4", "dory", "exaone", "hrm_text", "hy_v4", "hy_v4_vl_text", "lara_mini"),
    *("inkling2_loop_text", "inkling2_text", "lfm3", "mistral_large4_text", "sarvam_moe"),
}


def target_checks(plan: TrainPlan, config: dict[str, Any], tensors: dict[str, Shape], transformers: str) -> list[Check]:
    """Return a failure for each of the user's targets that this model lacks, or that gets no adapter.

    `tensors` are the shapes as they are held in memory.
    """
    modules = {module_of(name) for name in tensors}
    linear = linear_layers(tensors)
    usual = sorted({name.rpartition(".")[2] for name in default_targets(linear, modules)})
    checks = []
    for target in plan.spec.lora_targets:
        is_renamed = not is_older(transformers) and config.get("model_type") in _RENAMED
        found = _find(target, modules) or (_find(target.rpartition(".")[2], modules) if is_renamed else [])
        why = ""
        if not found:
            why = "" if is_renamed else f"the model has no layer `{target}`"
        elif any(ROUTER.search(name) for name in found):
            why = f"`{target}` is a router, which chooses experts and gets no adapter"
        elif any(is_read_by_mamba_kernel(name, modules) for name in found):
            why = f"`{target}` is that of Mamba layers, whose kernel takes its weight past an adapter"
        elif all(EXPERTS.search(name) and name not in linear for name in found):
            why = f"`{target}` is of experts that are kept in one tensor, which gets no adapter"
        elif not any(_is_matrix(name, tensors) for name in found):
            why = f"`{target}` is no linear layer"
        if why:
            remedy = f"leave `--lora-targets` out, or take from {', '.join(usual)}"
            checks.append(Check("lora targets", "failure", why, remedy))
    return checks


def _find(target: str, modules: Iterable[str]) -> list[str]:
    """Return the modules that PEFT means by a target; what stands before `layers` may be another on disk."""
    ends = (f".{target}", "." + target[max(0, target.find("layers.")) :])
    return [name for name in modules if f".{name}".endswith(ends)]


def _is_matrix(module: str, tensors: dict[str, Shape]) -> bool:
    return len(tensors.get(f"{module}.weight", ())) == 2  # noqa: PLR2004
