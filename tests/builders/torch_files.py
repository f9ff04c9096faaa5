"""Writes files as torch.save does, without torch."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from itertools import pairwise
from math import prod
from unittest import mock

MODULES = {name: types.ModuleType(name) for name in ("torch", "torch._utils", "torch._tensor")}
KINDS = ("FloatStorage", "BFloat16Storage", "HalfStorage", "LongStorage", "ComplexFloatStorage")


def _named(module, name, thing):
    thing.__module__, thing.__qualname__ = module, name
    setattr(MODULES[module], name, thing)


for kind in KINDS:
    _named("torch", kind, type(kind, (), {}))
for module, names in {
    "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
    "torch._tensor": ("_rebuild_from_type_v2",),
}.items():
    for name in names:
        _named(module, name, types.FunctionType(compile("0", "torch", "eval"), {}, name))
_named("torch", "Size", type("Size", (tuple,), {"__reduce__": lambda self: (type(self), (tuple(self),))}))
Size = MODULES["torch"].Size
parameter, from_type = MODULES["torch._utils"]._rebuild_parameter, MODULES["torch._tensor"]._rebuild_from_type_v2


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage:
    """Stands for torch's storages: `kind` is their class, `key` their record in the zip."""

    def __init__(self, kind, key):
        self.kind, self.key = kind, key


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return (
            ("storage", getattr(MODULES["torch"], thing.kind), thing.key, "cpu", 0)
            if isinstance(thing, Storage)
            else None
        )


def tensor(shape=(2, 3), stride=None, offset=0, kind="FloatStorage", key="0"):
    """Return a tensor of the storage `key`, in one piece where no stride is given."""
    stride = tuple(prod(shape[place + 1 :]) for place in range(len(shape))) if stride is None else stride
    rebuild = MODULES["torch._utils"]._rebuild_tensor_v2
    return Call(rebuild, Storage(kind, key), offset, shape, stride, False, OrderedDict())


def save(path, content, **records):
    """Write `content`, and the bytes of each storage by its key (`_0` is key 0); returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pickled = io.BytesIO()
    with mock.patch.dict(sys.modules, MODULES):
        Pickler(pickled, protocol=2).dump(content)
    return save_pickled(path, pickled.getvalue(), **records)


def save_pickled(path, pickled, compression=zipfile.ZIP_STORED, **records):
    """Write a pickle and records as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        for key, data in records.items():
            file.writestr(f"archive/data/{key.strip('_')}", data)
    return path


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def zero3(folder, shapes, world, groups=1, *, module=None, extra=None, step=9, **changes):
    """Write a ZeRO-3 checkpoint as DeepSpeed does, each tensor counting on from the last one's end.

    `step` is the optimiser's; a share is cut into so many `groups`; `changes` change what the model's files say.
    """
    shares = [[] for _ in range(world)]
    start = 0
    for shape in shapes.values():
        share = -(-prod(shape) // world)
        padded = [*range(start, start + prod(shape)), *[-1] * (share * world - prod(shape))]
        for rank in range(world):
            shares[rank] += padded[rank * share : (rank + 1) * share]
        start += prod(shape)
    for rank, share in enumerate(shares):
        cuts = [len(share) * number // groups for number in range(groups + 1)]
        flat = [share[one:other] for one, other in pairwise(cuts)]
        records = {f"_{number}": floats(*values) for number, values in enumerate(flat)}
        held = [tensor((len(values),), key=str(number)) for number, values in enumerate(flat)]
        optimizer = {"zero_stage": 3, "partition_count": world, "fp32_flat_groups": held}
        optimizer["optimizer_state_dict"] = {"state": {0: {"step": step}}}
        name = f"zero_pp_rank_{rank}_mp_rank_00"
        save(folder / f"bf16_{name}_optim_states.pt", {"optimizer_state_dict": optimizer}, _s=floats(9), **records)
        placeholders = OrderedDict((key, tensor((0,), kind="BFloat16Storage", key="p")) for key in shapes)
        content = {
            "module": {**placeholders, **(module or {})},
            "buffer_names": list(module or {}),
            "param_shapes": [OrderedDict((key, Size(shape)) for key, shape in shapes.items())],
            "shared_params": {},
            "dp_world_size": world,
            "mp_world_size": 1,
            "global_steps": 3,
            "meta": {"cfg": "lora=dict(lora_alpha=8)"},
        } | changes
        save(folder / f"{name}_model_states.pt", content, _p=b"", **(extra or {}))
    return folder
