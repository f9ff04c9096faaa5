"""Checks of `--lora-targets`: whether the model has such layers, and PEFT can train and merge them."""

from typing import Any

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.preflight.memory_estimate import linear_layers, module_of
from ftbridge.launchers.preflight.model import is_before_transformers5
from ftbridge.launchers.scripts.lora_targets import EXPERTS, ROUTER, default_targets, is_read_by_mamba_kernel

# Where transformers 5.24 (conversion_mapping.py) calls linear layers otherwise than the model's files do.
_RENAMED_MODEL_TYPES = {
    *("axk2", "bailing_hybrid", "deepseek_v4", "dory", "exaone", "hrm_text", "hy_v4", "hy_v4_vl_text", "lara_mini"),
    *("inkling2_loop_text", "inkling2_text", "lfm3", "mistral_large4_text", "sarvam_moe"),
}


def target_checks(plan: TrainPlan, config: dict[str, Any], tensors: dict[str, Shape], transformers: str) -> list[Check]:
    """Return a failure for each of the user's targets that this model lacks, or that gets no adapter.

    `tensors` are the shapes of the weights in memory, `transformers` is its version.
    """
    layers = _Layers(tensors)
    is_renamed = not is_before_transformers5(transformers) and config.get("model_type") in _RENAMED_MODEL_TYPES
    checks = []
    for target in plan.spec.lora_targets:
        modules = layers.modules_of(target)
        if is_renamed and not modules:
            modules = layers.modules_of(target.rpartition(".")[2])
            if not modules:
                continue
        if why := layers.why_no_adapter(target, modules):
            remedy = _("leave `--lora-targets` out, or take from {default_names}").format(
                default_names=joined(", ", layers.default_names())
            )
            checks.append(Check("lora targets", "failure", why, remedy))
    return checks


class _Layers:
    """The layers of a model that `--lora-targets` can name, by the shapes of its tensors."""

    def __init__(self, tensors: dict[str, Shape]) -> None:
        self.tensors = tensors
        self.modules = {module_of(name) for name in tensors}
        self.linear = linear_layers(tensors)

    def default_names(self) -> list[str]:
        """Return the last parts of the names of the layers that get an adapter where none are named."""
        return sorted({name.rpartition(".")[2] for name in default_targets(self.linear, self.modules)})

    def modules_of(self, target: str) -> list[str]:
        """Return the modules that PEFT means by a target; what stands before `layers` may be another on disk."""
        ends = (f".{target}", "." + target[max(0, target.find("layers.")) :])
        return [name for name in self.modules if f".{name}".endswith(ends)]

    def why_no_adapter(self, target: str, modules: list[str]) -> str:
        """Return why a target that names `modules` gets no adapter, "" where it gets one."""
        if not modules:
            return _("the model has no layer `{target}`").format(target=target)
        if any(ROUTER.search(name) for name in modules):
            return _("`{target}` is a router, which chooses experts and gets no adapter").format(target=target)
        if any(is_read_by_mamba_kernel(name, self.modules) for name in modules):
            return _("`{target}` is that of Mamba layers, whose kernel takes its weight past an adapter").format(
                target=target
            )
        if all(EXPERTS.search(name) and name not in self.linear for name in modules):
            return _("`{target}` is of experts that are kept in one tensor, which gets no adapter").format(
                target=target
            )
        if not any(len(self.tensors.get(f"{name}.weight", ())) == 2 for name in modules):  # noqa: PLR2004
            return _("`{target}` is not a linear layer").format(target=target)
        return ""
