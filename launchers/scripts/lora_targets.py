"""Which layers get an adapter where the user names none: those of attention, of dense and of shared MLPs.

Both frameworks take every linear layer, which is wrong for mixtures of experts and for Mamba. Names decide, so that
ftbridge, which reads them from a model's files, and the training process, which asks the model, come to the same; this
file is imported by both, and imports nothing.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

EXPERTS = re.compile(r"\.experts\.")
_EXPERT_OR_ROUTER = re.compile(r"\.(?:experts|router)\.")
# A router chooses experts; what chooses is not trained with the few samples of a fine-tuning, and transformers 5 has it
# as a class that PEFT cannot adapt.
ROUTER = re.compile(r"(?:^|\.)(?:gate|(?:\w+_)?router(?:\.\w+)?)$")
OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|output_layer|embed_out)$|^(?:\w*model\.)*output$|^(?:head|score)$")
# An indexer picks the tokens that attention sees, by their rank, so that no gradient reaches it; a shared expert's gate
# is one row.
_NOT_TRAINED = re.compile(r"(?:^|\.)(?:\w*expert_gate$|indexer\.)")
_OTHER_MODALITIES = re.compile(
    r"(?:^|\.)(?:embed_)?(?:visual|vision|image|audio|speech|multi_modal|mm|vpm|apm|resampler|connector|aligner)"
    r"(?:_\w+)?\."
)


def default_targets(linear: Iterable[str], names: Collection[str]) -> list[str]:
    """Return which of the `linear` layers get an adapter, in a model of these modules and parameters.

    Of a composite model that is its text model; never the output layer, a router, an expert, or what a Mamba
    layer's kernel takes past an adapter (`out_proj`, `x_proj`, `dt_proj`).
    """
    linear = list(linear)
    in_text_model = [name for name in linear if {"language_model", "text_model", "llm"}.intersection(name.split("."))]
    is_mixture = has_experts(names)
    return [
        name
        for name in in_text_model or [name for name in linear if not _OTHER_MODALITIES.search(name)]
        if not (OUTPUT.search(name) or EXPERTS.search(name) or _NOT_TRAINED.search(name))
        and not (is_mixture and ROUTER.search(name))
        and not is_read_by_mamba_kernel(name, names)
    ]


def has_experts(names: Iterable[str]) -> bool:
    """Tell whether these are the names of a mixture of experts."""
    return any(_EXPERT_OR_ROUTER.search(f"{name}.") for name in names)


def is_read_by_mamba_kernel(name: str, names: Collection[str]) -> bool:
    """Tell whether a Mamba layer, which has a parameter `D`, hands the weight of this one to its kernel."""
    parent, _, leaf = name.rpartition(".")
    return leaf in {"out_proj", "x_proj", "dt_proj"} and f"{parent}.D" in names


def shortest_targets(wanted: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the `target_modules` with which PEFT adapts the layers `wanted`, of a model of these names, and no other.

    PEFT takes what ends with a target. In a mixture of experts the last name alone will not do: read by another
    version of transformers, `gate_proj` would mean the experts too.
    """
    wanted, names = list(wanted), list(names)
    others = {ending for name in set(names).difference(wanted) for ending in _name_endings(name)}
    first = 1 if has_experts(names) else 0
    targets = {
        next((ending for ending in _name_endings(name)[first:] if ending not in others), name) for name in wanted
    }
    return sorted(targets)


def _name_endings(name: str) -> list[str]:
    """Return `c`, `b.c` and `a.b.c` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]


def targets_of_model(model: Any) -> list[str]:
    """Return the `target_modules` for PEFT of a model in memory, whether quantised or not."""
    modules = dict(model.named_modules())
    names = {*modules, *(name for name, _ in model.named_parameters())}
    return shortest_targets(default_targets((name for name in modules if _is_linear(modules[name])), names), names)


def _is_linear(module: Any) -> bool:
    """Tell whether PEFT can adapt a layer; a grouped one (DeepSeek V4) multiplies in a way of its own.

    Conv1D is what GPT-2 calls a linear layer.
    """
    kind = type(module).__name__
    return kind == "Conv1D" or ("Linear" in kind and "Grouped" not in kind and hasattr(module, "in_features"))
