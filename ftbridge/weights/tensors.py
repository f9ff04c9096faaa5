"""Where the tensors of a model or an adapter lie, read from the headers alone; no pickle is loaded."""

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import safetensors_header
from ftbridge.launchers.model_files import read_json
from ftbridge.weights.checkpoint import Checkpoint
from ftbridge.weights.checkpoint import Tensor as Pickled

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ITEM = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_AGAIN = "copy or download the model again"


class Place(msgspec.Struct, frozen=True):
    """A tensor's `size` bytes begin at `offset` of `file`; its dtype is named as safetensors names it."""

    file: str
    offset: int
    size: int
    dtype: str
    shape: tuple[int, ...]


class _Described(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], int]


def of_model(folder: Path) -> dict[str, Place]:
    """Return the tensors of a model folder by name, of safetensors files where there are any, else of .bin files.

    Raises InputError where there are none, or where a file is missing or cut short.
    """
    index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
    named: Any = read_json(index).get("weight_map") if index else {}
    if not isinstance(named, dict):
        raise InputError(f"`{index}` does not say where the weights are; {_AGAIN}")
    files = sorted({folder / str(name) for name in named.values()}) or _whole(folder)
    if not files:
        raise InputError(f"`{folder}` holds no weights (model*.safetensors or pytorch_model*.bin)")
    found = {name: place for file in files for name, place in of_file(file).items()}
    if missing := sorted(named.keys() - found):
        raise InputError(f"`{index}` names {len(missing)} tensors that are in no file, e.g. `{missing[0]}`; {_AGAIN}")
    return found


def of_adapter(folder: Path) -> dict[str, Place]:
    """Return the tensors of a PEFT adapter's folder; raises InputError where they are missing or not whole."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return of_file(folder / name)
    raise InputError(f"`{folder}` holds no adapter_model.safetensors; export the adapter again")


def of_file(file: Path) -> dict[str, Place]:
    """Return the tensors of one file by name, in the order in which they lie there."""
    if not file.is_file():
        raise InputError(f"the weights in `{file}`: the file is missing; {_AGAIN}")
    found = _safetensors(file) if file.suffix == ".safetensors" else _torch(file)
    for name, place in found.items():
        if place.dtype in ITEM and place.size != math.prod(place.shape) * ITEM[place.dtype]:
            raise InputError(f"`{file}` is damaged: `{name}` has not as many bytes as its shape says; {_AGAIN}")
    return dict(sorted(found.items(), key=lambda item: item[1].offset))


def _whole(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _safetensors(file: Path) -> dict[str, Place]:
    header = safetensors_header(file)
    if header is None:
        raise InputError(f"the weights in `{file}`: the file is not whole; {_AGAIN}")
    with file.open("rb") as content:
        start = 8 + int.from_bytes(content.read(8), "little")
    try:
        described = msgspec.convert(header, dict[str, _Described])
    except msgspec.ValidationError as error:
        raise InputError(f"`{file}` is damaged: {error}; {_AGAIN}") from error
    return {
        name: Place(
            str(file), start + each.data_offsets[0], each.data_offsets[1] - each.data_offsets[0], each.dtype, each.shape
        )
        for name, each in described.items()
    }


def _torch(file: Path) -> dict[str, Place]:
    """Return what `torch.save` wrote of a dict of tensors: each storage lies in the zip as it is, not packed."""
    checkpoint = Checkpoint(file)
    content = checkpoint.content if isinstance(checkpoint.content, dict) else {}
    found = {}
    for name, tensor in content.items():
        if not isinstance(tensor, Pickled):
            continue
        try:
            record = checkpoint.zip.getinfo(f"{checkpoint.prefix}data/{tensor.record}")
        except KeyError as error:
            raise InputError(f"`{file}` is damaged: it lacks the bytes of `{name}`; {_AGAIN}") from error
        begin = tensor.offset * tensor.item
        if record.compress_type or not 0 <= begin <= begin + tensor.size <= record.file_size:
            raise InputError(f"`{file}` is damaged: the bytes of `{name}` are not where it says; {_AGAIN}")
        with file.open("rb") as content_file:  # the local header has name and extra field of its own length
            content_file.seek(record.header_offset + 26)
            lengths = content_file.read(4)
        start = (
            record.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        )
        found[str(name)] = Place(str(file), start + begin, tensor.size, tensor.dtype, tensor.shape)
    return found
