"""A model's or an adapter's tensors out of what a training has left: one file, a DeepSpeed folder, safetensors.

ZeRO-1 and 2 keep the model whole, in the dtype that it was trained in. ZeRO-3 shares every tensor out: flat, and
filled up to a multiple of the processes; process r has the r-th share, in float32, beside its optimiser's state.
(deepspeed/utils/zero_to_fp32.py puts them together in the same way, with torch.)
"""

import re
import struct
from collections.abc import Iterable
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.safetensors_header import weight_map
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.tensor import SIZES, FileRange, Tensor, slice_ranges
from ftbridge.weights.tensors.torch_file import Stored, TorchFile, is_shape

_WHOLE_MODEL = "mp_rank_00_model_states.pt"
_MODEL_SHARD = "zero_pp_rank_{}_mp_rank_00_model_states.pt"
_OPTIMIZER_SHARD = "*zero_pp_rank_{}_mp_rank_00_optim_states.pt"
Each = TypeVar("Each")


class Weights(msgspec.Struct, frozen=True):
    """Tensors by name, of an adapter without those of its base, and what else the checkpoint holds."""

    tensors: dict[str, Tensor]
    content: dict[Any, Any]


def read_weights(path: Path) -> Weights:
    """Return the tensors of `path`, a checkpoint's file or folder; their bytes stay there.

    Raises InputError where they are not all there, or are damaged.
    """
    if not path.is_dir():
        return _read_single_file(TorchFile(path))
    if list(path.glob("*_model_states.pt")):
        return _read_deepspeed(path)
    tensors = _read_safetensors(path)
    if tensors and all(tensor.size for tensor in tensors.values()):
        return Weights(_drop_second_names(tensors, path), {})
    # Trainer leaves nothing, or empty tensors, where ZeRO-3 is not to gather them, and DeepSpeed's own folder.
    saved = sorted(path.glob("global_step*"), key=lambda each: int(re.sub(r"\D", "", each.name) or 0))
    if not saved:
        raise InputError(_("`{path}` holds neither a checkpoint nor an adapter").format(path=path))
    return _read_deepspeed(saved[-1])


def is_adapter(names: Iterable[str]) -> bool:
    """Tell whether tensors of these names are an adapter's."""
    return any(".lora_" in name for name in names)


def _read_safetensors(folder: Path) -> dict[str, Tensor]:
    files = [*folder.glob("adapter_model.safetensors")] or sorted(folder.glob("model*.safetensors"))
    found = {name: tensor for file in files for name, tensor in safetensors.read(file).items()}
    if missing := weight_map(folder).keys() - found:
        raise InputError(
            _("`{folder}` lacks {tensors} that its index names, such as `{min}`").format(
                folder=folder, tensors=counted(len(missing), "tensor"), min=min(missing)
            )
        )
    return found


def _read_single_file(checkpoint: TorchFile) -> Weights:
    """Return what one file holds: XTuner's `state_dict`, or DeepSpeed's `module`."""
    held = _keep_adapter_alone(_as_dict(checkpoint.content.get("state_dict") or checkpoint.content.get("module")))
    found = {name: checkpoint.tensor(stored, name) for name, stored in held.items()}
    if empty := [name for name, tensor in found.items() if not tensor.size]:
        raise InputError(
            _("`{path}` holds no more than a share of `{empty}`; name its folder").format(
                path=checkpoint.path, empty=empty[0]
            )
        )
    return Weights(_drop_second_names(found, checkpoint.path), checkpoint.content)


def _read_deepspeed(folder: Path) -> Weights:
    whole = folder / _WHOLE_MODEL
    first = TorchFile(whole if whole.is_file() else _single_file(folder, _MODEL_SHARD.format(0)))
    if first.content.get("mp_world_size", 1) != 1:
        raise InputError(
            _("`{folder}` was trained with tensor parallelism, which export does not put together").format(
                folder=folder
            )
        )
    if whole.is_file():
        return _read_single_file(first)
    world = first.content.get("dp_world_size")
    if type(world) is not int or not 1 <= world <= len([*folder.iterdir()]):
        raise InputError(
            _("`{folder}` lacks shards: its first one is of {shown_count} processes").format(
                folder=folder, shown_count=_shown_count(world)
            )
        )
    models = [first, *(TorchFile(_single_file(folder, _MODEL_SHARD.format(rank))) for rank in range(1, world))]
    states = [TorchFile(_single_file(folder, _OPTIMIZER_SHARD.format(rank))) for rank in range(world)]
    _require_same(
        folder, _("numbers of processes"), [_shown_count(model.content.get("dp_world_size")) for model in models]
    )
    _require_same(folder, "steps", [_shown_count(model.content.get("global_steps")) for model in models])
    _require_same(folder, _("optimizer's steps"), [_optimizer_steps(state) for state in states])
    found = _trained_tensors(first, states, folder)
    if not is_adapter(found):
        found |= _frozen_tensors(models, folder)
    return Weights(_drop_second_names(_keep_adapter_alone(found), folder), first.content)


def _trained_tensors(first: TorchFile, states: list[TorchFile], folder: Path) -> dict[str, Tensor]:
    """Return what was trained; `param_shapes` lists it in the order in which it lies in each process's share."""
    flat = [_flat_ranges(state) for state in states]
    found: dict[str, Tensor] = {}
    offset = 0
    for group in _as_list(first.content.get("param_shapes")):
        for name, shape in _as_dict(group).items():
            size, share = _size_and_share(
                shape, len(flat), "F32", _("`{name}` in `{path}`").format(name=name, path=first.path)
            )
            shares = [part for parts in flat for part in slice_ranges(parts, offset, share)]
            found[name] = Tensor("F32", shape, tuple(slice_ranges(shares, 0, size)))
            offset += share
    held = [sum(part.size for part in parts) for parts in flat]
    if any(size != offset for size in held):
        raise InputError(
            _(
                "`{folder}` mixes shards of several checkpoints: they hold {map} bytes, and {offset} each are named"
            ).format(folder=folder, map=joined(", ", map(str, held)), offset=offset)
        )
    return found


def _frozen_tensors(models: list[TorchFile], folder: Path) -> dict[str, Tensor]:
    """Return the frozen parameters, put together from the shards of all ranks, and the buffers of rank 0."""
    first = models[0]
    held, buffers = _as_dict(first.content.get("module")), _as_list(first.content.get("buffer_names"))
    found = {name: first.tensor(held[name], name) for name in held if name in buffers}
    for name, shape in _as_dict(first.content.get("frozen_param_shapes")).items():
        shares = [each.tensor(_as_dict(each.content.get("frozen_param_fragments")).get(name), name) for each in models]
        size, _unused = _size_and_share(
            shape, len(models), shares[0].dtype, _("`{name}` in `{path}`").format(name=name, path=first.path)
        )
        parts = tuple(slice_ranges([part for share in shares for part in share.parts], 0, size))
        if sum(part.size for part in parts) != size or len({share.dtype for share in shares}) != 1:
            raise InputError(
                _("`{folder}` is damaged: its shards do not hold the whole of `{name}`").format(
                    folder=folder, name=name
                )
            )
        found[name] = Tensor(shares[0].dtype, shape, parts)
    return found


def _require_same(folder: Path, what: str, values: list[str]) -> None:
    if len(set(values)) > 1:
        raise InputError(
            _("`{folder}` mixes shards of several checkpoints: their {what} are {values}").format(
                folder=folder, what=what, values=joined(", ", values)
            )
        )


def _optimizer_steps(state: TorchFile) -> str:
    """Return how many steps the optimiser of a process says that it has made; not every kind does."""
    inner = _as_dict(_as_dict(state.content.get("optimizer_state_dict")).get("optimizer_state_dict")).get("state")
    first = next(iter(inner.values()), None) if isinstance(inner, dict) else None
    step = _as_dict(first).get("step")
    if not isinstance(step, Stored) or step.dtype != "F32" or step.shape != ():
        return _shown_count(step)
    return f"{struct.unpack('<f', b''.join(state.tensor(step, 'step').pieces()))[0]:g}"


def _flat_ranges(state: TorchFile) -> list[FileRange]:
    """Return where a process's shares lie, one after another."""
    groups = _as_list(_as_dict(state.content.get("optimizer_state_dict")).get("fp32_flat_groups"))
    tensors = [state.tensor(stored, f"fp32_flat_groups[{number}]") for number, stored in enumerate(groups)]
    if not tensors or any(tensor.dtype != "F32" for tensor in tensors):
        raise InputError(
            _("`{path}` does not hold the weights in float32, as ZeRO-3 keeps them").format(path=state.path)
        )
    return [part for tensor in tensors for part in tensor.parts]


def _size_and_share(shape: Any, world: int, dtype: str, where: str) -> tuple[int, int]:
    """Return the bytes of a tensor and of a process's share of it."""
    if not is_shape(shape):
        raise InputError(_("{where} is damaged: it has no shape").format(where=where))
    items = prod(shape)
    return items * SIZES[dtype], -(-items // world) * SIZES[dtype]


def _keep_adapter_alone(found: dict[str, Each]) -> dict[str, Each]:
    """Leave out what is not the adapter's, where there is one: DeepSpeed may save the frozen base with it."""
    if not is_adapter(found):
        return found
    return {name: each for name, each in found.items() if ".lora_" in name or ".modules_to_save." in name}


def _drop_second_names(found: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Leave out a second name of the same bytes, as transformers does: embeddings tied to the output.

    Raises InputError for other tensors that share bytes; a small file could pretend to hold any number of them.
    """
    first = {tensor: name for name, tensor in reversed(found.items())}
    parts = sorted(
        (part for tensor in (found.values() if is_adapter(found) else first) for part in tensor.parts),
        key=lambda part: (part.file, part.start),
    )
    for one, other in pairwise(parts):
        if one.file == other.file and one.start + one.size > other.start:
            raise InputError(
                _("`{path}` is damaged: tensors overlap at byte {start} of `{file}`").format(
                    path=path, start=other.start, file=one.file
                )
            )
    return {name: tensor for name, tensor in found.items() if first[tensor] == name}


def _single_file(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(
            _("`{folder}` has {count} files `{pattern}`, and there must be one").format(
                folder=folder, count=len(found) or "no", pattern=pattern
            )
        )
    return found[0]


def _as_dict(value: Any) -> dict[str, Any]:
    return {key: each for key, each in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _shown_count(value: Any) -> str:
    return str(value)[:20] if type(value) is int else "unknown"
