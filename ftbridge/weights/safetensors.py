"""safetensors files: 8 bytes of header length, the header as JSON, the tensors' bytes."""

import struct
from collections.abc import Iterable
from math import prod
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files import atomic_file, safetensors_header, write_json
from ftbridge.weights.parts import SIZES, Part, Tensor

SHARD = 5_000_000_000  # bytes, as transformers has it
# What is to be written: name, dtype, shape, and the bytes in pieces, which are made when their turn comes.
Entry = tuple[str, str, tuple[int, ...], Iterable[bytes]]


class _Place(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, in its order; raises InputError where it is not whole."""
    try:
        header = msgspec.convert(safetensors_header(path), dict[str, _Place])
    except msgspec.ValidationError as error:
        raise InputError(f"`{path}` is damaged or no safetensors file") from error
    base = path.stat().st_size - max((place.data_offsets[1] for place in header.values()), default=0)
    found = {}
    for name, place in header.items():
        start, end = place.data_offsets
        tensor = Tensor(place.dtype, place.shape, (Part(path, base + start, end - start),))
        if place.dtype not in SIZES or min(start, *place.shape, 0) < 0 or tensor.size != end - start:
            raise InputError(f"`{path}` is damaged, or `{name}` of a dtype that is not known: {place.dtype}")
        found[name] = tensor
    return found


def header(tensors: Iterable[tuple[str, str, tuple[int, ...], int]]) -> bytes:
    """Return what stands before the tensors' bytes, for (name, dtype, shape, bytes) of each, in that order."""
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape, size in tensors:
        described[name] = {"dtype": dtype, "shape": shape, "data_offsets": (offset, offset + size)}
        offset += size
    text = msgspec.json.encode(described)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write the entries in their order, piece by piece; raises InputError where the pieces do not fill the shape."""
    entries = list(entries)
    with atomic_file(path) as file:
        file.write(header((name, dtype, shape, _size(dtype, shape)) for name, dtype, shape, _ in entries))
        for name, dtype, shape, pieces in entries:
            if sum(map(file.write, pieces)) != _size(dtype, shape):
                raise InputError(f"`{name}`, which was to be written into `{path}`, is not as long as its shape says")


def write_model(folder: Path, entries: Iterable[Entry], limit: int = SHARD) -> None:
    """Write model.safetensors, or several files of one tensor at least and an index where `limit` bytes do not do."""
    shards: list[list[Entry]] = []
    sizes: list[int] = []
    for entry in entries:
        size = _size(entry[1], entry[2])
        if not shards or sizes[-1] + size > limit:
            shards.append([])
            sizes.append(0)
        shards[-1].append(entry)
        sizes[-1] += size
    if len(shards) == 1:
        write(folder / "model.safetensors", shards[0])
        return
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write(folder / name, shard)
    places = {entry[0]: name for name, shard in zip(names, shards, strict=True) for entry in shard}
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": places}
    write_json(folder / "model.safetensors.index.json", index)


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return prod(shape) * SIZES[dtype]
