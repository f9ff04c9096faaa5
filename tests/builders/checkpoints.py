"""Checkpoints of a LoRA training, written without a framework."""

from collections import OrderedDict
from math import prod

from .torch_files import floats, save, tensor

LAYER = "llm.base_model.model.model.layers.0.self_attn.q_proj"
LORA = {f"{LAYER}.lora_A.default.weight": (2, 3), f"{LAYER}.lora_B.default.weight": (3, 2)}


def weights(shapes, kind="FloatStorage"):
    """Return tensors one after another in one storage."""
    found, start = OrderedDict(), 0
    for name, shape in shapes.items():
        found[name] = tensor(shape, offset=start, kind=kind)
        start += prod(shape)
    return found


def xtuner(path, shapes, meta="lora=dict(lora_alpha=8)", kind="FloatStorage", numbers=20):
    """Write a checkpoint of one process, whose numbers count on."""
    data = floats(*range(numbers))
    data = data if kind == "FloatStorage" else b"".join(data[at + 2 : at + 4] for at in range(0, len(data), 4))
    return save(path, {"state_dict": weights(shapes, kind), "meta": {"cfg": meta}}, _0=data)
