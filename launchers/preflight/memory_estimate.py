"""How much memory a training takes, from the shapes in the model's safetensors headers and its config.json.

Weights, adapters, gradients and optimiser are counted as the frameworks keep them (read in peft 0.18.1, bitsandbytes
0.50.2, xtuner 0.2.0, llamafactory 0.9.5, deepspeed 0.19.4; tests compare them with real tensors and with DeepSpeed's
own estimators):

- bitsandbytes quantises linear layers but for the output layer: 4 bits in blocks of 64, with a float32 maximum each,
  which double quantisation turns into a byte each and a float32 for 256 of them; or 8 bits and a float32 per row;
- it does not quantise experts that are stacked in one tensor (model_files.py says where), nor the routers before them;
- what is not quantised has 4 bytes on XTuner, whose `prepare_model_for_kbit_training` casts it; on LLaMA-Factory it
  keeps the dtype that config.json names, which is mostly one of 2 bytes; with `--dtype float32` it has 4 on both;
- what is trained has 4 bytes, and so has its gradient; Adam keeps two more values of 4 bytes;
- DeepSpeed casts all to 2 bytes, keeps 4 more for what is trained and 4 for its gradient while it makes a step, and
  shares out: the optimiser from stage 1 on, gradients from stage 2, weights in stage 3. There the gradient in 16 bits
  is not counted, as in DeepSpeed's estimator: when the step begins, weights that were gathered have made room for it.

Buffers are what is kept beside these:

- DDP's buckets, a second copy of all gradients (several processes without DeepSpeed);
- DeepSpeed's reduce bucket; its allgather buckets are views of the weights and take nothing;
- the weights that ZeRO-3 has gathered: the largest layer with its gradient, or all that it lets live;
- autocast's 16-bit copies on a GPU without DeepSpeed: of all that is trained, and of frozen weights in float32 that
  the backward pass wants: the output layer, and a layer of what is not quantised, or all without gradient
  checkpointing.

Activations follow a formula that was not yet measured on a GPU, in bytes for each token of a micro batch, where a value
has 2 bytes, and 4 with float32:

    layer  = 16 hidden + value (4 hidden + 2 key-values + 3 intermediate)
             with an adapter + value (6 hidden + intermediate)
    all    = layers x hidden state + layer (with gradient checkpointing), or layers x layer
    logits = 12 vocabulary (log-softmax, its gradient and that of the loss, all in float32)

and (4 + value) x heads x cutoff length more a layer for `attention: eager`, and the largest quantised layer unpacked.
In a mixture of experts `intermediate` is that of the experts that a token passes through.

CUDA itself and what its allocator cannot use are taken for 0.6 GiB and 5 % of the rest. A model in 4 bits is whole on
each GPU before ZeRO-3 shares it out, so that a training takes at least that.
"""

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.core.plugins import load_backend
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.plan import TrainPlan, offloads
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.scripts.lora_targets import EXPERTS, OUTPUT, ROUTER, default_targets

_TOO_LARGE = 1 << 40  # for any model or config; products of larger numbers do not fit into a float
Size = Annotated[int, msgspec.Meta(ge=1, lt=_TOO_LARGE)]
_EMBEDDING = re.compile(r"(?:embed|embd|wte|wpe)", re.IGNORECASE)
# DeepSpeed's defaults, in numbers of values (runtime/zero/config.py).
_REDUCE_BUCKET_SIZE, _MAX_LIVE_PARAMETERS = 500_000_000, 1_000_000_000
_OFFLOADED_STATES = {"offload_optimizer": ("gradients", "optimizer"), "offload_param": ("weights", "adapters")}


class ActivationSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes in config.json that activations depend on, under the names of most models."""

    hidden_size: Size
    num_hidden_layers: Size
    intermediate_size: Size
    num_attention_heads: Size
    num_key_value_heads: Size
    vocab_size: Size


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that each process has on its device, by what they hold.

    `start` is what loading takes there before anything else; `host` is what each process has in the main memory of a
    machine with GPUs, while it loads the model or because of offload.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int | None
    buffers: int = 0
    context: int = 0
    start: int = 0
    host: int = 0

    @property
    def certain(self) -> int:
        """Return the bytes of the model states: weights, adapters, gradients and optimiser."""
        return self.weights + self.adapters + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Return the most bytes on the device at a time."""
        return max(self.start, self.certain + self.buffers + (self.activations or 0) + self.context)

    def __str__(self) -> str:
        sizes = {
            _("weights"): self.weights,
            _("adapters"): self.adapters,
            _("gradients"): self.gradients,
            _("optimizer"): self.optimizer,
            _("buffers"): self.buffers,
            _("activations"): self.activations,
            _("context"): self.context,
        }
        parts = [joined(" ", (name, _("unknown") if size is None else _gib(size))) for name, size in sizes.items()]
        start = (
            _("; {gib} GiB at the start, before ZeRO-3 shares the weights out").format(gib=_gib(self.start))
            if self.start
            else ""
        )
        host = _("; {gib} GiB a process in the machine's memory").format(gib=_gib(self.host)) if self.host else ""
        return _("about {gib} GiB a process ({parts}{start}{host}); activations were not yet measured on a GPU").format(
            gib=_gib(self.total), parts=joined(", ", parts), start=start, host=host
        )


def estimate_memory(plan: TrainPlan, shapes: dict[str, Shape], config: dict[str, Any]) -> Memory:
    """Return the bytes of memory that `plan` takes, for a model with these `shapes` of tensors and this config.json."""
    trained, sizes, loaded = _trained_shapes(plan, shapes), _activation_sizes(config), _loaded_value_size(plan, config)
    kept = 2 if casts_to_16_bits(plan) else 4 if plan.spec.method == "full" else loaded
    weights = _weight_bytes(plan, shapes, kept)
    adapters = 0 if plan.spec.method == "full" else _trained_bytes(plan, trained)
    states = {
        "weights": _per_process(plan, weights, 3),
        "adapters": _per_process(plan, adapters, 3),
        "gradients": _gradient_bytes(plan, trained),
        "optimizer": _per_process(plan, _optimizer_bytes(plan, trained), 1),
    }
    in_memory = sum(states[name] for name in _offloaded_states(plan, "cpu"))
    states |= dict.fromkeys(_offloaded_states(plan), 0)
    buffers = (
        _bucket_bytes(plan, trained, sizes)
        + _gathered_bytes(plan, shapes, weights)
        + _autocast_bytes(plan, shapes, sizes, kept)
    )
    activations = _activation_bytes(plan, sizes, shapes, kept) if sizes else None
    before_sharing = weights + adapters if plan.spec.method == "qlora" and plan.zero_stage == 3 else 0  # noqa: PLR2004
    return Memory(
        **states,
        buffers=buffers,
        activations=activations,
        context=_cuda_overhead(plan, sum(states.values()) + buffers + (activations or 0)),
        start=before_sharing and before_sharing + _cuda_overhead(plan, before_sharing),
        host=max(_weight_bytes(plan, shapes, loaded) if _loads_into_main_memory(plan) else 0, in_memory),
    )


def checkpoint_size(plan: TrainPlan, shapes: dict[str, Shape]) -> int:
    """Return the bytes of one checkpoint: the trained tensors, and the optimiser's state."""
    trained = _trained_shapes(plan, shapes)
    return _trained_bytes(plan, trained) + _optimizer_bytes(plan, trained)


def count_parameters(plan: TrainPlan, shapes: dict[str, Shape]) -> tuple[int, int]:
    """Return how many parameters are trained, and of how many in all, adapters included, as PEFT counts them."""
    trained = sum(map(math.prod, _trained_shapes(plan, shapes)))
    return trained, sum(map(math.prod, shapes.values())) + (0 if plan.spec.method == "full" else trained)


def casts_to_16_bits(plan: TrainPlan) -> bool:
    """Tell whether DeepSpeed casts all weights to 16 bits."""
    sections = [plan.deepspeed.get(key, {}) for key in ("bf16", "fp16")] if plan.deepspeed else []
    return any(section.get("enabled") is True for section in sections)


def adapter_shapes(plan: TrainPlan, shapes: dict[str, Shape]) -> list[Shape]:
    """Return the shapes of a LoRA adapter's tensors: two matrices a layer, with DoRA a magnitude for each row, too."""
    rank = plan.spec.lora_rank
    found: list[Shape] = []
    linear = linear_layers(shapes)
    targets = tuple(f".{target}.weight" for target in plan.spec.lora_targets)
    chosen = [shape for name, shape in shapes.items() if targets and f".{name}".endswith(targets)]
    if not targets:
        chosen = [linear[module] for module in default_targets(linear, {module_of(name) for name in shapes})]
    for rows, *rest in chosen:
        if len(rest) == 1:
            found += [(rank, *rest), (rows, rank)] + ([(rows,)] if plan.spec.dora else [])
    return found


def linear_layers(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of the linear layers by module, but for the output layer and routers."""
    return {module_of(name): shape for name, shape in shapes.items() if _is_hidden(name, shape)}


def module_of(name: str) -> str:
    """Return the module that a weight belongs to; the name of another tensor stays as it is."""
    return name.removesuffix(".weight")


def _trained_shapes(plan: TrainPlan, shapes: dict[str, Shape]) -> list[Shape]:
    return list(shapes.values()) if plan.spec.method == "full" else adapter_shapes(plan, shapes)


def _trained_bytes(plan: TrainPlan, trained: Iterable[Shape]) -> int:
    return (2 if casts_to_16_bits(plan) else 4) * sum(map(math.prod, trained))


def _zero_section(plan: TrainPlan) -> dict[str, Any]:
    return (load_backend(plan.spec.backend).deepspeed_config(plan) or {}).get("zero_optimization") or {}


def _config_number(section: dict[str, Any], key: str, default: int) -> int:
    """Return a number of a DeepSpeed config, such as 2e8; `default` for anything that DeepSpeed itself would refuse."""
    value = section.get(key)
    return int(value) if isinstance(value, int | float) and abs(value) < _TOO_LARGE else default


def _per_process(plan: TrainPlan, size: int, stage: int) -> int:
    """Return the bytes that each process has of `size`, which ZeRO shards from `stage` on."""
    return math.ceil(size / plan.machine.processes) if plan.zero_stage >= stage else size


def _offloaded_states(plan: TrainPlan, device: str = "") -> list[str]:
    """Return the model states that DeepSpeed moves from the GPU to `device` ("cpu" or "nvme"), or to any."""
    if plan.machine.device != "cuda":  # where all is in main memory anyway
        return []
    offloaded = [key for key in _OFFLOADED_STATES if offloads(plan.deepspeed, key)]
    if device:
        offloaded = [key for key in offloaded if _zero_section(plan)[key]["device"] == device]
    return [state for key in offloaded for state in _OFFLOADED_STATES[key]]


def _gradient_bytes(plan: TrainPlan, trained: list[Shape]) -> int:
    if plan.deepspeed is None:
        return _trained_bytes(plan, trained)
    in_float32 = 4 * sum(map(math.prod, trained))
    if plan.zero_stage == 3 or "optimizer" in _offloaded_states(plan):  # noqa: PLR2004
        return _per_process(plan, in_float32, 1)
    return _per_process(plan, _trained_bytes(plan, trained), 2) + _per_process(plan, in_float32, 1)


def _bucket_bytes(plan: TrainPlan, trained: list[Shape], sizes: ActivationSizes | None) -> int:
    """Return the bytes of the buckets in which DDP or DeepSpeed exchanges gradients between processes."""
    if plan.deepspeed is None:
        return _trained_bytes(plan, trained) if plan.machine.processes > 1 else 0
    zero = _zero_section(plan)
    if not plan.zero_stage or zero.get("contiguous_gradients") is False:
        return 0
    size = _config_number(zero, "reduce_bucket_size", _REDUCE_BUCKET_SIZE)
    if zero.get("reduce_bucket_size") == "auto":
        size = sizes.hidden_size**2 if sizes else 0  # transformers' rule
    if plan.machine.device == "cpu":  # where pages count once they are written to
        size = min(size, sum(map(math.prod, trained)))
    double = zero.get("overlap_comm") is True and plan.zero_stage < 3  # noqa: PLR2004
    return (2 if double else 1) * (2 if casts_to_16_bits(plan) else 4) * size


def _gathered_bytes(plan: TrainPlan, shapes: dict[str, Shape], weights: int) -> int:
    """Return the bytes of weights that ZeRO-3 shards and a process has gathered at a time."""
    if plan.zero_stage != 3:  # noqa: PLR2004
        return 0
    width = 2 if casts_to_16_bits(plan) else 4
    live = min(weights, width * _config_number(_zero_section(plan), "stage3_max_live_parameters", _MAX_LIVE_PARAMETERS))
    return max(live, (2 if plan.spec.method == "full" else 1) * width * max(map(math.prod, shapes.values())))


def _autocast_bytes(plan: TrainPlan, shapes: dict[str, Shape], sizes: ActivationSizes | None, kept: int) -> int:
    """Return the bytes of autocast's 16-bit copies: it caches those of trained weights, backward keeps frozen ones."""
    machine, spec = plan.machine, plan.spec
    if machine.device == "cpu" or machine.dtype == "float32" or plan.deepspeed is not None:
        return 0
    linear = sum(math.prod(shape) for name, shape in shapes.items() if _is_hidden(name, shape))
    experts = sum(math.prod(shape) for name, shape in shapes.items() if _is_stacked_experts(name, shape))
    head = _output_layer_values(shapes)
    if spec.method == "full":
        return 2 * (linear + experts + head)
    copies = 2 * sum(map(math.prod, adapter_shapes(plan, shapes)))
    if kept == 4:  # noqa: PLR2004
        at_once = sizes.num_hidden_layers if sizes and spec.gradient_checkpointing else 1
        frozen = experts + (linear if spec.method == "lora" else 0)
        copies += 2 * (head + frozen // at_once)
    return copies


def _is_stacked_experts(name: str, shape: Shape) -> bool:
    return len(shape) == 3 and EXPERTS.search(name) is not None  # noqa: PLR2004


def _output_layer_values(shapes: dict[str, Shape]) -> int:
    """Return how many values the output layer has; tied to the embedding, it is under that name only."""
    output = [math.prod(shape) for name, shape in shapes.items() if OUTPUT.search(module_of(name))]
    embedding = [math.prod(shape) for name, shape in shapes.items() if _EMBEDDING.search(name)]
    return max(output or embedding, default=0)


def _cuda_overhead(plan: TrainPlan, used: int) -> int:
    """Return the bytes that CUDA takes beside `used`: its context, and what the allocator cannot use."""
    return int(0.6 * GIB + 0.05 * used) if plan.machine.device == "cuda" else 0


def _loads_into_main_memory(plan: TrainPlan) -> bool:
    """Tell whether each process has the whole model in main memory before it goes to the GPU.

    transformers puts it on the GPU at once where it is told so: by LLaMA-Factory, and for quantised models. ZeRO-3
    shares it out while it is loaded, but one in 4 bits only afterwards.
    """
    if plan.machine.device == "cpu":
        return False
    if plan.spec.method == "qlora":
        return plan.zero_stage == 3  # noqa: PLR2004
    return load_backend(plan.spec.backend).loads_into_main_memory(plan)


def _loaded_value_size(plan: TrainPlan, config: dict[str, Any]) -> int:
    """Return the bytes of a value that is not quantised, as the framework loads it."""
    if plan.machine.dtype == "float32":
        return 4
    return load_backend(plan.spec.backend).weight_bytes(plan, text_config(config))


def _is_linear(name: str, shape: Shape) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and not _EMBEDDING.search(name)  # noqa: PLR2004


def _is_hidden(name: str, shape: Shape) -> bool:
    """Tell whether this is a linear layer, and neither the output layer nor a router."""
    module = module_of(name)
    return _is_linear(name, shape) and not OUTPUT.search(module) and not ROUTER.search(module)


def _weight_bytes(plan: TrainPlan, shapes: dict[str, Shape], kept: int) -> int:
    """Return the bytes of the whole model, where a value that is not quantised has `kept`."""
    spec, total = plan.spec, 0
    for name, shape in shapes.items():
        if spec.method == "qlora" and _is_hidden(name, shape):
            total += _quantized_bytes(shape, spec.quantization_bits, double=spec.double_quantization)
        else:
            total += kept * math.prod(shape)
    return total


def _quantized_bytes(shape: Shape, bits: int, *, double: bool) -> int:
    numbers = math.prod(shape)
    if bits == 8:  # noqa: PLR2004
        return numbers + 4 * shape[0]
    blocks = math.ceil(numbers / 64)
    # The 16 values of the type, and with double quantisation an offset and the 256 values of the maxima's type.
    maxima = blocks + 4 * math.ceil(blocks / 256) + 4 + 1024 if double else 4 * blocks
    return math.ceil(numbers / 2) + maxima + 64


def _optimizer_bytes(plan: TrainPlan, trained: Iterable[Shape]) -> int:
    master = 4 if plan.zero_stage or casts_to_16_bits(plan) else 0
    return sum(master * math.prod(shape) + _optimizer_state_bytes(plan.spec.optimizer, shape) for shape in trained)


def _optimizer_state_bytes(optimizer: str, shape: Shape) -> int:
    numbers = math.prod(shape)
    if optimizer == "sgd":
        return 0
    if optimizer == "adafactor":
        return 4 * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)
    if optimizer.endswith("8bit") and numbers >= 4096:  # noqa: PLR2004 - bitsandbytes keeps smaller ones whole
        return 2 * (numbers + 4 * math.ceil(numbers / 256))
    return 8 * numbers


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return config.json with its `text_config`, which multimodal models have, on the top level."""
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config.copy()


def _activation_sizes(config: dict[str, Any]) -> ActivationSizes | None:
    """Return the sizes in config.json, None where it lacks one under every known name."""
    text = text_config(config)
    names = {
        "num_hidden_layers": "num_layers",
        "intermediate_size": "ffn_hidden_size",
        "vocab_size": "padded_vocab_size",
    }
    for name, other in names.items():
        text.setdefault(name, text.get(other))
    text.setdefault("num_key_value_heads", text.get("multi_query_group_num") or text.get("num_attention_heads"))
    text["intermediate_size"] = _active_intermediate_size(text) or text["intermediate_size"]
    try:
        return msgspec.convert(text, ActivationSizes)
    except msgspec.ValidationError:
        return None


def _active_intermediate_size(text: dict[str, Any]) -> int:
    """Return the intermediate size of the experts that a token passes through, or of a dense layer; 0 if not known."""
    dense = text.get("intermediate_size") or 0
    chosen = text.get("num_experts_per_tok") or text.get("num_experts_per_token") or text.get("moe_k") or 0
    shared = text.get("n_shared_experts") or text.get("num_shared_experts") or 0
    width, together = text.get("moe_intermediate_size") or dense, text.get("shared_expert_intermediate_size") or 0
    if not all(isinstance(value, int) for value in (dense, chosen, shared, width, together)):
        return 0
    return int(max(dense, (chosen + shared) * width + together))


def _activation_bytes(plan: TrainPlan, sizes: ActivationSizes, shapes: dict[str, Shape], stream: int) -> int:
    """Return the bytes by the formula above, where a value of the hidden state has `stream`."""
    spec, hidden = plan.spec, sizes.hidden_size
    value = 4 if plan.machine.dtype == "float32" and not casts_to_16_bits(plan) else 2
    tokens = spec.micro_batch_size * spec.cutoff_length
    heads = 2 * hidden * sizes.num_key_value_heads // sizes.num_attention_heads
    layer = 16 * hidden + value * (4 * hidden + heads + 3 * sizes.intermediate_size)
    if spec.method != "full":
        layer += value * (6 * hidden + sizes.intermediate_size)
    if spec.attention == "eager":
        layer += (4 + value) * sizes.num_attention_heads * spec.cutoff_length
    layers = sizes.num_hidden_layers
    total = tokens * (layers * hidden * stream + layer if spec.gradient_checkpointing else layers * layer)
    unpacked = max((math.prod(shape) for name, shape in shapes.items() if _is_hidden(name, shape)), default=0)
    return total + tokens * 12 * sizes.vocab_size + (value * unpacked if spec.method == "qlora" else 0)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
