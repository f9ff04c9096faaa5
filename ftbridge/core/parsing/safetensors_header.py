"""Which tensors a model folder has, of which shapes, by the headers of its safetensors files and their index."""

import math
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import opened_record
from ftbridge.core.parsing.json_yaml import read_json

# What safetensors itself takes for a header, at most.
LARGEST_HEADER = 100_000_000
LARGEST_NUMBER = 1 << 48
MOST_DIMENSIONS = 64


def safetensors_header(path: Path) -> dict[str, Any] | None:
    """Return the header of a safetensors file (tensor name to dtype, shape, offsets), or None if it is not whole.

    The format: 8 bytes of header length, the header as JSON, the tensors' bytes.
    """
    import msgspec

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
    """Tell whether a safetensors header may say this of a tensor, in which a byte holds eight items at most."""
    match value:
        case {"dtype": str(), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
            whole = all(type(number) is int and 0 <= number <= LARGEST_NUMBER for number in numbers)
            return whole and len(shape) <= MOST_DIMENSIONS and math.prod(shape) <= 8 * (end - begin)
    return False


Shape = tuple[int, ...]
INDEX = "model.safetensors.index.json"


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def shapes(model: Path) -> dict[str, Shape]:
    """Return the shapes of the model's tensors by name, by the headers of its safetensors files; none without them.

    Raises InputError where a file is missing or not whole.
    """
    found: dict[str, Shape] = {}
    named: set[str] = set()
    files = {file.name for file in model.glob("model*.safetensors")}
    if (model / INDEX).is_file():
        try:
            index = msgspec.convert(read_json(model / INDEX), _Index)
        except msgspec.ValidationError as error:
            raise InputError(f"`{model / INDEX}` does not say where the weights are: {error}") from error
        files, named = set(index.weight_map.values()), set(index.weight_map)
    for name in sorted(files):
        header = safetensors_header(model / name)
        if header is None:
            what = "is not whole" if (model / name).is_file() else "is missing"
            raise InputError(f"the weights in `{model / name}`: the file {what}")
        found |= {tensor: tuple(value["shape"]) for tensor, value in header.items() if math.prod(value["shape"])}
    if missing := named - set(found):
        raise InputError(f"`{model / INDEX}` names {len(missing)} tensors that are in no file, e.g. `{min(missing)}`")
    return found
