"""Experts of a mixture: a few tensors each on disk, all of a layer in one tensor in transformers 5's memory.

There `gate_up_proj` is (experts, gate's and up's outputs, inputs) and `down_proj` (experts, outputs, inputs); so says
transformers/conversion_mapping.py, 5.24. An adapter of either has `lora_A` (experts x rank, inputs) and `lora_B`
(outputs, rank x experts): expert e has the rows from e*rank on, and the columns e, e + experts, ... (ParamWrapper in
peft/tuners/lora/layer.py, 0.21).
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _
from ftbridge.weights.tensors.names import name_in_files
from ftbridge.weights.tensors.tensor import SIZES, FileRange, Tensor, slice_ranges

# What gate, up and down are called on disk.
_EXPERT_LEAVES = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
_FUSED = (".gate_up_proj", ".down_proj")


class Share(msgspec.Struct, frozen=True):
    """What an adapter of all experts holds for one tensor on disk: lora_B @ lora_A, the columns of B from `number` on.

    `parameter` and `rank` are those of the adapter; every `count`-th column counts.
    """

    name: str
    parameter: str
    rank: int
    a: Tensor
    b: Tensor
    number: int
    count: int


def adapter_shares(
    module: str, a: Tensor, b: Tensor, files: Mapping[str, Tensor], ranks: Collection[int]
) -> list[Share]:
    """Return what the adapter of a module, of one of these `ranks`, holds for each tensor of `files`; [] for no fit."""
    experts = _expert_names(module, files)
    if not experts or len(a.shape) != 2 or len(b.shape) != 2 or not _have_same_shapes(experts, files):  # noqa: PLR2004
        return []
    rank, (gate, _unused, down) = a.shape[0] // len(experts), experts[0]
    if rank not in ranks or a.shape[0] != b.shape[1] or a.shape[0] != rank * len(experts):
        return []
    (inner, outer), (outputs, inputs) = files[gate].shape, files[down].shape
    found = []
    for number, (gate, up, down) in enumerate(experts):
        own = _rows(a, number * rank, rank)
        if (b.shape[0], a.shape[1]) == (2 * inner, outer):
            halves = ((gate, _rows(b, 0, inner)), (up, _rows(b, inner, inner)))
            found += [Share(name, "gate_up_proj", rank, own, half, number, len(experts)) for name, half in halves]
        elif (b.shape[0], a.shape[1]) == (outputs, inputs):
            found.append(Share(down, "down_proj", rank, own, b, number, len(experts)))
    return found


def split_experts(name: str, tensor: Tensor, files: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what becomes of the tensor `name` of all experts where `files` have them one by one; else itself.

    Raises InputError where they are there in another shape.
    """
    module = name.removesuffix(_FUSED[0]).removesuffix(_FUSED[1])
    experts = _expert_names(module, files) if name.endswith(_FUSED) else []
    if not experts:
        return {name: tensor}
    picked = [each[:2] if name.endswith(_FUSED[0]) else each[2:] for each in experts]
    names = [each for several in picked for each in several]
    shapes = [files[each].shape for each in names]
    if sum(map(prod, shapes)) != prod(tensor.shape) or tensor.shape[0] != len(experts):
        raise InputError(
            _("`{name}` does not hold the {count} experts of the base, `{example}` and so on").format(
                name=name, count=len(experts), example=names[0]
            )
        )
    found, start = {}, 0
    for each, shape in zip(names, shapes, strict=True):
        size = prod(shape) * SIZES[tensor.dtype]
        found[each] = Tensor(tensor.dtype, shape, tuple(slice_ranges(tensor.parts, start, size)))
        start += size
    return found


def _expert_names(module: str, files: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Return what `files` call gate, up and down of each expert of a module."""
    found: list[tuple[str, ...]] = []
    for leaves in _EXPERT_LEAVES:
        while all(names := tuple(name_in_files(f"{module}.{len(found)}.{leaf}.weight", files) for leaf in leaves)):
            found.append(names)
    # Where one is left out, what follows is not known to be the next.
    before = found[0][0].rpartition(".experts.")[0] + ".experts." if found else ""
    numbers = {name.removeprefix(before).partition(".")[0] for name in files if before and name.startswith(before)}
    return found if sum(map(str.isdigit, numbers)) == len(found) else []


def _have_same_shapes(experts: Sequence[tuple[str, ...]], files: Mapping[str, Tensor]) -> bool:
    shapes = {tuple(files[name].shape for name in each) for each in experts}
    return len(shapes) == 1 and all(len(shape) == 2 for shape in shapes.pop())  # noqa: PLR2004


def _rows(tensor: Tensor, begin: int, count: int) -> Tensor:
    size, place = tensor.size // tensor.shape[0], tensor.place
    rows = FileRange(place.file, place.start + begin * size, count * size)
    return Tensor(tensor.dtype, (count, *tensor.shape[1:]), (rows,))
