"""How much memory a training takes, from the shapes in the model's safetensors headers and its config.json.

Weights, adapters, gradients and optimiser are counted as the frameworks keep them (read in peft 0.18.1, bitsandbytes
0.50.2, xtuner 0.2.0, llamafactory 0.9.5, deepspeed 0.19.4; a test compares them with real tensors):

- bitsandbytes quantises linear layers but for the output layer: 4 bits in blocks of 64, with a float32 maximum each,
  which double quantisation turns into a byte each and a float32 for 256 of them; or 8 bits and a float32 per row;
- what is not quantised has 2 bytes on LLaMA-Factory and 4 on XTuner, whose `prepare_model_for_kbit_training` casts it;
- what is trained has 4 bytes, and so has its gradient; Adam keeps two more values of 4 bytes;
- DeepSpeed casts all to 2 bytes, keeps 4 more for what is trained, and shares out: the optimiser from stage 1 on,
  gradients from stage 2, weights in stage 3.

Activations follow a formula that was not yet measured on a GPU, in bytes for each token of a micro batch:

    layer  = 16 hidden + 2 (4 hidden + 2 key-values + 3 intermediate), with an adapter + 2 (6 hidden + intermediate)
    all    = layers x hidden state + layer (with gradient checkpointing), or layers x layer
    logits = 10 vocabulary (one in the dtype, two in float32)

and 6 bytes x heads x cutoff length more a layer for `attention: eager`, and the largest quantised layer unpacked.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ftbridge.launchers.machine import GIB
from ftbridge.launchers.plan import Plan, offloads

Shape = tuple[int, ...]
_EMBEDDING = re.compile(r"(?:embed|embd|wte|wpe)", re.IGNORECASE)
_OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|output_layer|embed_out)\.weight$|^(?:model\.)?output\.weight$")


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes in config.json that activations depend on, under the names of most models."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that each process has on its device; `host` is what offload keeps in the machine's memory instead."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int | None
    host: int = 0

    @property
    def certain(self) -> int:
        """Return the bytes without activations."""
        return self.weights + self.adapters + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Return all bytes on the device."""
        return self.certain + (self.activations or 0)

    def __str__(self) -> str:
        names = ("weights", "adapters", "gradients", "optimizer", "activations")
        values = {name: getattr(self, name) for name in names}
        parts = [f"{name} {'unknown' if size is None else _gib(size)}" for name, size in values.items()]
        host = f"; {_gib(self.host)} GiB a process in the machine's memory" if self.host else ""
        return (
            f"about {_gib(self.total)} GiB a process ({', '.join(parts)}{host}); "
            "activations were not yet measured on a GPU"
        )


def estimate(plan: Plan, shapes: dict[str, Shape], config: dict[str, Any]) -> Memory:
    """Return the memory that `plan` takes, for a model of these `shapes` (by name) with this config.json."""
    processes = plan.machine.processes

    def shared(size: int, least: int) -> int:
        return math.ceil(size / processes) if plan.zero_stage >= least else size

    trained = _trained(plan, shapes)
    parameters = _bytes(plan, trained)
    sizes = _sizes(config)
    parts = {
        "weights": shared(_weights(plan, shapes), 3),
        "adapters": 0 if plan.spec.method == "full" else shared(parameters, 3),
        "gradients": shared(parameters, 2),
        "optimizer": shared(_optimizer(plan, trained), 1),
    }
    moved = [name for key, names in _OFFLOADED.items() if offloads(plan.deepspeed, key) for name in names]
    return Memory(
        **{name: 0 if name in moved else size for name, size in parts.items()},
        activations=_activations(plan, sizes, shapes) if sizes else None,
        host=sum(parts[name] for name in moved),
    )


_OFFLOADED = {"offload_optimizer": ("gradients", "optimizer"), "offload_param": ("weights", "adapters")}


def checkpoint_size(plan: Plan, shapes: dict[str, Shape]) -> int:
    """Return the bytes of one checkpoint: what is trained, and the optimiser's state."""
    trained = _trained(plan, shapes)
    return _bytes(plan, trained) + _optimizer(plan, trained)


def halved(plan: Plan) -> bool:
    """Tell whether DeepSpeed casts all weights to 16 bits."""
    sections = [plan.deepspeed.get(key, {}) for key in ("bf16", "fp16")] if plan.deepspeed else []
    return any(section.get("enabled") is True for section in sections)


def adapter_shapes(plan: Plan, shapes: dict[str, Shape]) -> list[Shape]:
    """Return the shapes of what an adapter trains: two matrices a layer, and with DoRA a magnitude for each row."""
    rank = plan.spec.lora_rank
    found: list[Shape] = []
    targets = tuple(f".{target}.weight" for target in plan.spec.lora_targets)
    for name, shape in shapes.items():
        targeted = not targets or f".{name}".endswith(targets)
        if targeted and _is_linear(name, shape) and not _OUTPUT.search(name):
            found += [(rank, shape[1]), (shape[0], rank)] + ([(shape[0],)] if plan.spec.dora else [])
    return found


def _trained(plan: Plan, shapes: dict[str, Shape]) -> list[Shape]:
    return list(shapes.values()) if plan.spec.method == "full" else adapter_shapes(plan, shapes)


def _bytes(plan: Plan, trained: Iterable[Shape]) -> int:
    return (2 if halved(plan) else 4) * sum(map(math.prod, trained))


def _is_linear(name: str, shape: Shape) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and not _EMBEDDING.search(name)  # noqa: PLR2004


def _weights(plan: Plan, shapes: dict[str, Shape]) -> int:
    spec = plan.spec
    kept = 2 if halved(plan) else 4 if spec.method == "full" or spec.backend == "xtuner" else 2
    total = 0
    for name, shape in shapes.items():
        if spec.method == "qlora" and _is_linear(name, shape) and not _OUTPUT.search(name):
            total += _quantized(shape, spec.quantization_bits, double=spec.double_quantization)
        else:
            total += kept * math.prod(shape)
    return total


def _quantized(shape: Shape, bits: int, *, double: bool) -> int:
    numbers = math.prod(shape)
    if bits == 8:  # noqa: PLR2004
        return numbers + 4 * shape[0]
    blocks = math.ceil(numbers / 64)
    # The 16 values of the type, and with double quantisation an offset and the 256 values of the maxima's type.
    maxima = blocks + 4 * math.ceil(blocks / 256) + 4 + 1024 if double else 4 * blocks
    return math.ceil(numbers / 2) + maxima + 64


def _optimizer(plan: Plan, trained: Iterable[Shape]) -> int:
    master = 4 if halved(plan) else 0
    return sum(master * math.prod(shape) + _state(plan.spec.optimizer, shape) for shape in trained)


def _state(optimizer: str, shape: Shape) -> int:
    numbers = math.prod(shape)
    if optimizer == "sgd":
        return 0
    if optimizer == "adafactor":
        return 4 * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)
    if optimizer.endswith("8bit") and numbers >= 4096:  # noqa: PLR2004 - bitsandbytes keeps smaller ones whole
        return 2 * (numbers + 4 * math.ceil(numbers / 256))
    return 8 * numbers


def _sizes(config: dict[str, Any]) -> Sizes | None:
    """Return the sizes, or None where config.json does not have them under any known name."""
    inner = {**config, **(config.get("text_config") or {})}
    names = {
        "num_hidden_layers": "num_layers",
        "intermediate_size": "ffn_hidden_size",
        "vocab_size": "padded_vocab_size",
    }
    for name, other in names.items():
        inner.setdefault(name, inner.get(other))
    inner.setdefault("num_key_value_heads", inner.get("multi_query_group_num") or inner.get("num_attention_heads"))
    try:
        return msgspec.convert(inner, Sizes)
    except msgspec.ValidationError:
        return None


def _activations(plan: Plan, sizes: Sizes, shapes: dict[str, Shape]) -> int:
    spec, hidden = plan.spec, sizes.hidden_size
    tokens = spec.micro_batch_size * spec.cutoff_length
    values = 2 * hidden * sizes.num_key_value_heads // sizes.num_attention_heads
    layer = 16 * hidden + 2 * (4 * hidden + values + 3 * sizes.intermediate_size)
    if spec.method != "full":
        layer += 2 * (6 * hidden + sizes.intermediate_size)
    if spec.attention == "eager":
        layer += 6 * sizes.num_attention_heads * spec.cutoff_length
    stream = 2 if halved(plan) or (spec.method != "full" and spec.backend != "xtuner") else 4
    layers = sizes.num_hidden_layers
    total = tokens * (layers * hidden * stream + layer if spec.gradient_checkpointing else layers * layer)
    unpacked = max((math.prod(s) for n, s in shapes.items() if _is_linear(n, s) and not _OUTPUT.search(n)), default=0)
    return total + tokens * 10 * sizes.vocab_size + (2 * unpacked if spec.method == "qlora" else 0)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
