"""What PEFT adapters change in a base model: for each tensor, what it starts from and what is added to it.

The names and the order of the arithmetic are those of PEFT 0.18 to 0.21 (tuners/lora/layer.py and variants.py,
utils/save_and_load.py): several adapters are merged one after another, each scaled by its weight.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.weights.tensors.experts import adapter_shares
from ftbridge.weights.tensors.index import adapter_tensors
from ftbridge.weights.tensors.names import name_in_files
from ftbridge.weights.tensors.tensor import Tensor

FLOATS = ("BF16", "F16", "F32")
# Without a change to the base before the training starts; PiSSA, OLoRA, CorDA and LoftQ make one.
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\."
    r"(?:(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.(?P<leaf>weight|bias))?"
    r"|(?:base_layer\.|modules_to_save\.)?(?P<full>weight|bias))"
)
# PEFT's name for the second of two adapted tensors of a module, within the first.
EXPERTS = re.compile(r"\.experts(\.base_layer)*$")
_LARGEST_WHOLE = 1 << 24  # items of a tensor that must be in memory as a whole: 64 MB in float32
_OTHER_BASE = _("it was trained on another base, or is not an adapter of a language model (`--model` names the base)")


class _Config(msgspec.Struct, frozen=True):
    """What adapter_config.json holds, of which `r`, `lora_alpha` and the patterns have PEFT's defaults."""

    peft_type: str = ""
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    alpha_pattern: dict[str, float] | None = None
    rank_pattern: dict[str, int] | None = None
    init_lora_weights: Any = True
    alora_invocation_tokens: Any = None
    arrow_config: Any = None
    layer_replication: Any = None
    trainable_token_indices: Any = None
    use_qalora: Any = None


class Step(msgspec.Struct, frozen=True):
    """One addition: scale * (b @ a), transposed for weights that lie (inputs, outputs), or scale * b for a bias.

    With `magnitude` (DoRA) each output's row is then brought to that length. Of a `b` for all experts of a layer,
    `expert` says which columns count: those from its number on, in steps of the experts' count.
    """

    b: Tensor
    scale: float
    a: Tensor | None = None
    transposed: bool = False
    magnitude: Tensor | None = None
    expert: tuple[int, int] | None = None


class Change(msgspec.Struct):
    """What becomes of a tensor of the base: it starts from `start`, its own or the adapter's, and gets `steps`."""

    dtype: str
    before: Tensor
    start: Tensor
    steps: list[Step] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the new shape; resized embeddings have the adapter's."""
        return self.start.shape


def changes(base: Mapping[str, Tensor], adapters: Iterable[tuple[Path, float]]) -> dict[str, Change]:
    """Return what adapters, each with its weight, change in the tensors of `base`, by name.

    Raises InputError for an adapter that is of another kind, or does not fit; UsageError for weights that it
    cannot have.
    """
    found: dict[str, Change] = {}
    for folder, weight in adapters:
        _Adapter(folder, weight).apply(base, found)
    return found


class _Adapter:
    def __init__(self, folder: Path, weight: float) -> None:
        self.folder, self.weight = folder, weight
        self.config = _read_config(folder)
        self.parts: dict[str, dict[str, Tensor]] = {}
        self.full_tensors: dict[str, Tensor] = {}
        self.embeddings: set[str] = set()
        for name, tensor in adapter_tensors(folder).items():
            if ".original_module." in name:  # the base's own, beside what took its place
                continue
            match = _NAME.fullmatch(name)
            if not match:
                raise InputError(
                    _("`{folder}` cannot be merged: `{name}` is not part of LoRA").format(folder=folder, name=name)
                )
            if match["full"]:
                self.full_tensors[f"{match['module']}.{match['full']}"] = tensor
            else:
                part = match["part"].replace("lora_embedding_", "lora_") + (".bias" if match["leaf"] == "bias" else "")
                self.parts.setdefault(match["module"], {})[part] = tensor
                if "embedding" in match["part"]:
                    self.embeddings.add(match["module"])

    def apply(self, base: Mapping[str, Tensor], found: dict[str, Change]) -> None:
        """Add what this adapter does to `found`: first what it brings whole, then its products.

        A weight lies in one of two ways, and its product has to lie as it does:

            straight, (outputs, inputs), as in torch's Linear:        W += scale * (B @ A)
            turned, (inputs, outputs), as in GPT-2's Conv1D and
            in embeddings, whose rows are the tokens:                 W += scale * (B @ A).T

        with A (rank, inputs) and B (outputs, rank). A square weight fits both ways; it lies as the others do.
        """
        for name, tensor in self.full_tensors.items():
            self._replace_tensor(name, tensor, base, found)
        straight, turned = self._orientations(base)
        are_squares_turned = turned or (self.config.fan_in_fan_out and not straight)
        for module, parts in self.parts.items():
            base_name = _find_in_base(f"{module}.weight", base)
            if not base_name and EXPERTS.search(module):
                self._add_experts(module, parts, base, found)
            else:
                is_square_turned = module in self.embeddings or are_squares_turned
                self._add_product(module, base_name, parts, base, found, is_square_turned=is_square_turned)
        for name, change in found.items():
            if wrong := [dtype for dtype in (change.dtype, change.start.dtype) if dtype not in FLOATS]:
                raise InputError(
                    _("`{name}` is {wrong}; merging needs {floats}: name another with `--model`").format(
                        name=name, wrong=wrong[0], floats=joined(", ", FLOATS)
                    )
                )

    def _replace_tensor(self, name: str, tensor: Tensor, base: Mapping[str, Tensor], found: dict[str, Change]) -> None:
        """Put a tensor that the adapter brings whole in place of the base's."""
        base_name = _find_in_base(name, base)
        self._require_fit(name, bool(base_name) and _may_replace(base_name, base[base_name].shape, tensor.shape))
        if base_name in found or self.weight != 1:
            raise UsageError(
                _("`{folder}` holds `{name}` whole, which can neither be weighted nor merged with another's").format(
                    folder=self.folder, name=name
                )
            )
        found[base_name] = Change(base[base_name].dtype, base[base_name], tensor)

    def _add_product(
        self,
        module: str,
        base_name: str,
        parts: Mapping[str, Tensor],
        base: Mapping[str, Tensor],
        found: dict[str, Change],
        *,
        is_square_turned: bool,
    ) -> None:
        """Add B @ A, and a bias, to the tensor that the base calls `base_name`."""
        a, b = parts.get("lora_A"), parts.get("lora_B")
        if not base_name or not a or not b:
            raise self._misfit_error(f"{module}.weight")
        change = found.setdefault(base_name, Change(base[base_name].dtype, base[base_name], base[base_name]))
        fits = _orientation(change.shape, a, b)
        self._require_fit(base_name, bool(fits))
        transposed = is_square_turned if fits == "either" else fits == "turned"
        scale = self._scale_of_module(module, a.shape[0])
        magnitude = parts.get("lora_magnitude_vector")
        if magnitude:
            self._check_dora(base_name, change.shape, magnitude, transposed=transposed)
        change.steps.append(Step(b, scale, a, transposed, magnitude))
        if bias := parts.get("lora_B.bias"):
            self._add_bias(f"{module}.bias", Step(bias, scale), base, found)

    def _add_experts(
        self, module: str, parts: Mapping[str, Tensor], base: Mapping[str, Tensor], found: dict[str, Change]
    ) -> None:
        experts = EXPERTS.sub(".experts", module)
        a, b = parts.get("lora_A"), parts.get("lora_B")
        ranks = {self.config.r, *(self.config.rank_pattern or {}).values()} - {0}
        fitting = adapter_shares(experts, a, b, base, ranks) if a and b and len(parts) == 2 else []  # noqa: PLR2004
        if not fitting:
            raise InputError(
                _(
                    "`{folder}` adapts the experts `{experts}`, which the base does not hold one by one "
                    "in this shape; merge this adapter with PEFT, or train again without experts "
                    "(`--lora-targets`)"
                ).format(folder=self.folder, experts=experts)
            )
        for share in fitting:
            scale = self._scale_of_module(f"{experts}.{share.parameter}", share.rank)
            change = found.setdefault(share.name, Change(base[share.name].dtype, base[share.name], base[share.name]))
            change.steps.append(Step(share.b, scale, share.a, expert=(share.number, share.count)))

    def _add_bias(self, name: str, step: Step, base: Mapping[str, Tensor], found: dict[str, Change]) -> None:
        base_name = _find_in_base(name, base)
        self._require_fit(name, bool(base_name) and base[base_name].shape == step.b.shape)
        found.setdefault(base_name, Change(base[base_name].dtype, base[base_name], base[base_name])).steps.append(step)

    def _orientations(self, base: Mapping[str, Tensor]) -> tuple[bool, bool]:
        """Tell whether weights lie (outputs, inputs), or (inputs, outputs) as GPT-2's; square ones do not say."""
        found = set()
        for module, parts in self.parts.items():
            base_name, a, b = _find_in_base(f"{module}.weight", base), parts.get("lora_A"), parts.get("lora_B")
            if base_name and a and b and module not in self.embeddings and not module.endswith("lm_head"):
                found.add(_orientation(base[base_name].shape, a, b))
        return "straight" in found, "turned" in found

    def _scale_of_module(self, module: str, rank: int) -> float:
        patterns = self.config.alpha_pattern or {}
        if slow := next((key for key in patterns if re.search(r"\)[*+{]", key)), ""):  # may take for ever
            raise InputError(
                _("`{folder}` has an `alpha_pattern` with a repeated group: `{slow:.80}`; merge with PEFT").format(
                    folder=self.folder, slow=slow
                )
            )
        try:  # as PEFT matches them
            key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        except re.error as error:
            raise InputError(
                _("`{folder}` has an `alpha_pattern` that is not a regular expression: {error}").format(
                    folder=self.folder, error=error
                )
            ) from error
        alpha = self.config.lora_alpha if key is None else patterns[key]
        return alpha / (math.sqrt(rank) if self.config.use_rslora else rank) * self.weight

    def _check_dora(self, name: str, shape: tuple[int, ...], magnitude: Tensor, *, transposed: bool) -> None:
        self._require_fit(name, magnitude.shape == (shape[1 if transposed else 0],))
        if self.weight != 1:
            raise UsageError(
                _("`{folder}` was trained with DoRA, whose lengths cannot be weighted; leave the weight out").format(
                    folder=self.folder
                )
            )
        if transposed and math.prod(shape) > _LARGEST_WHOLE:
            raise InputError(
                _("DoRA of `{name}` would need the whole tensor in memory; merge this adapter with PEFT").format(
                    name=name
                )
            )

    def _require_fit(self, name: str, fits: bool) -> None:
        if not fits:
            raise self._misfit_error(name)

    def _misfit_error(self, name: str) -> InputError:
        return InputError(
            _("the adapter `{folder}` does not fit the base: `{name}` is not there in this shape; {other_base}").format(
                folder=self.folder, name=name, other_base=_OTHER_BASE
            )
        )


def _read_config(folder: Path) -> _Config:
    file = folder / "adapter_config.json"
    config = load_json(read_text(file, _("adapter's config")), _Config, _("cannot read `{file}`").format(file=file))
    if config.peft_type != "LORA":
        raise InputError(
            _("`{folder}` is an adapter of the kind `{peft_type}`; only LORA can be merged").format(
                folder=folder, peft_type=config.peft_type
            )
        )
    fields = ("alora_invocation_tokens", "arrow_config", "layer_replication")
    for name in (*fields, "trainable_token_indices", "use_qalora"):
        if getattr(config, name):
            raise InputError(
                _("`{file}` asks for `{name}`, which cannot be merged; merge this adapter with PEFT").format(
                    file=file, name=name
                )
            )
    if config.init_lora_weights not in _PLAIN_STARTS:
        raise InputError(
            _(
                "`{folder}` was initialised with `{init_lora_weights}`, which changed the base before the "
                "training; convert it with PEFT (save_pretrained with "
                "path_initial_model_for_weight_conversion)"
            ).format(folder=folder, init_lora_weights=config.init_lora_weights)
        )
    return config


def _find_in_base(name: str, base: Mapping[str, Tensor]) -> str:
    """Return what `base` calls a tensor, or "": a checkpoint may lack the first name, as GPT-2's `transformer.`."""
    shorter = name.partition(".")[2]
    return name_in_files(name, base) or (shorter if shorter in base else "")


def _may_replace(name: str, old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Tell whether the shapes fit; embeddings, and the output layer, may have been resized to another vocabulary."""
    resized = "embed" in name or "wte" in name or "lm_head" in name
    return old == new or (resized and old[1:] == new[1:])


def _orientation(shape: tuple[int, ...], a: Tensor, b: Tensor) -> str:
    """Return how a weight of `shape` must lie for b @ a: "straight", "turned", "either", or "" where neither fits."""
    if not len(shape) == len(a.shape) == len(b.shape) == 2 or a.shape[0] != b.shape[1] or not a.shape[0]:  # noqa: PLR2004
        return ""
    product = (b.shape[0], a.shape[1])
    straight, turned = shape == product, shape == product[::-1]
    if straight:
        return "either" if turned else "straight"
    return "turned" if turned else ""
