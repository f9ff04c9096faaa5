"""Which tensors a model folder has, of which shapes, by the headers of its safetensors files and their index."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import opened_record
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.language import ngettext

Shape = tuple[int, ...]
INDEX = "model.safetensors.index.json"
# The indexes that a model folder may have, in the order in which they count.
INDEXES = (INDEX, "pytorch_model.bin.index.json")
# What safetensors itself takes for a header, at most.
LARGEST_HEADER = 100_000_000
LARGEST_NUMBER = 1 << 48
MOST_DIMENSIONS = 64


def safetensors_header(path: Path) -> dict[str, Any] | None:
    """Return the header of a safetensors file (tensor name to dtype, shape, offsets), or None if it is not whole.

    The format: 8 bytes of header length, the header as JSON, the tensors' bytes.
    """
    try:
        with opened_record(path) as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if length > min(size, LARGEST_HEADER):
                return None
            header = msgspec.json.decode(file.read(length), type=dict[str, Any])
    except (OSError, RecursionError, ValueError):  # a path with NUL, no JSON, not UTF-8
        return None
    header.pop("__metadata__", None)
    if not all(map(_is_tensor, header.values())):
        return None
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    return header if size == 8 + length + end else None


def _is_tensor(value: Any) -> bool:
    """Tell whether a value of a safetensors header describes a tensor, of which a byte holds eight items at most."""
    match value:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
            whole = all(type(number) is int and 0 <= number <= LARGEST_NUMBER for number in numbers)
            return whole and len(shape) <= MOST_DIMENSIONS and math.prod(shape) <= 8 * (end - begin)
    return False


class StoredTensor(msgspec.Struct, frozen=True):
    """A tensor of a safetensors file: its dtype, its shape, and the bytes of the file that hold it."""

    dtype: str
    shape: Shape
    start: int
    size: int


def stored_tensors(path: Path) -> dict[str, StoredTensor] | None:
    """Return the tensors of a safetensors file by name, in its order, or None if it is not whole."""
    header = safetensors_header(path)
    if header is None:
        return None
    base = path.stat().st_size - max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    found = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        found[name] = StoredTensor(tensor["dtype"], tuple(tensor["shape"]), base + begin, end - begin)
    return found


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def weight_map(model: Path, indexes: Sequence[str] = (INDEX,)) -> dict[str, str]:
    """Return the file of each tensor by name, as the first index says that is there; {} without one.

    Raises InputError where it does not say.
    """
    index = next((model / name for name in indexes if (model / name).is_file()), None)
    if not index:
        return {}
    try:
        return msgspec.convert(read_json(index), _Index).weight_map
    except msgspec.ValidationError as error:
        raise InputError(
            _("`{index}` does not say where the weights are: {error}").format(index=index, error=error)
        ) from error


def shapes(model: Path) -> dict[str, Shape]:
    """Return the shapes of the model's tensors by name, by the headers of its safetensors files; none without them.

    Raises InputError where a file is missing or not whole.
    """
    found: dict[str, Shape] = {}
    named = weight_map(model)
    is_indexed = (model / INDEX).is_file()
    files = set(named.values()) if is_indexed else {file.name for file in model.glob("model*.safetensors")}
    for name in sorted(files):
        tensors = stored_tensors(model / name)
        if tensors is None:
            what = _("is incomplete") if (model / name).is_file() else _("is missing")
            raise InputError(_("the weights in `{model}`: the file {what}").format(model=model / name, what=what))
        found |= {tensor: stored.shape for tensor, stored in tensors.items() if math.prod(stored.shape)}
    if missing := named.keys() - found:
        raise InputError(
            ngettext(
                "`{index}` names {count:,} tensor that is in no file: `{first}`",
                "`{index}` names {count:,} tensors that are in no file, e.g. `{first}`",
                len(missing),
            ).format(index=model / INDEX, count=len(missing), first=min(missing))
        )
    return found
