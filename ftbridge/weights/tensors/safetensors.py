"""safetensors files: 8 bytes of header length, the header as JSON, the tensors' bytes."""

import struct
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import atomic_file, write_json
from ftbridge.core.parsing.safetensors_header import INDEX, stored_tensors
from ftbridge.language import gettext as _
from ftbridge.weights.tensors.tensor import SIZES, FileRange, Tensor

SHARD = 5_000_000_000  # bytes, as transformers has it
# What is to be written: name, dtype, shape, and the bytes in pieces, which are made when their turn comes.
Entry = tuple[str, str, tuple[int, ...], Iterable[bytes]]


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, in its order; raises InputError where it is not whole."""
    stored = stored_tensors(path)
    if stored is None:
        raise InputError(_("`{path}` is damaged or no safetensors file").format(path=path))
    found = {}
    for name, each in stored.items():
        tensor = Tensor(each.dtype, each.shape, (FileRange(path, each.start, each.size),))
        if each.dtype not in SIZES or tensor.size != each.size:
            raise InputError(
                _("`{path}` is damaged, or `{name}` of a dtype that is not known: {dtype}").format(
                    path=path, name=name, dtype=each.dtype
                )
            )
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
        file.write(header((name, dtype, shape, _byte_size(dtype, shape)) for name, dtype, shape, _ in entries))
        for name, dtype, shape, pieces in entries:
            if sum(map(file.write, pieces)) != _byte_size(dtype, shape):
                raise InputError(
                    _("`{name}`, which was to be written into `{path}`, is not as long as its shape says").format(
                        name=name, path=path
                    )
                )


def write_model(folder: Path, entries: Iterable[Entry], limit: int = SHARD) -> None:
    """Write the files of a model of the entries, as `shards` lays them out."""
    named = {entry[0]: entry for entry in entries}
    files = shards({name: _byte_size(dtype, shape) for name, dtype, shape, _ in named.values()}, limit)
    for file, names in files.items():
        write(folder / file, [named[name] for name in names])
    write_index(folder, files, sum(_byte_size(dtype, shape) for _, dtype, shape, _ in named.values()))


def shards(sizes: Mapping[str, int], limit: int = SHARD) -> dict[str, list[str]]:
    """Return the files of a model with the tensors in each: one tensor at least, and at most `limit` bytes of several.

    `sizes` are the tensors' bytes, in their order; the files are called as transformers calls them.
    """
    found: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if found[-1] and filled + size > limit:
            found.append([])
            filled = 0
        found[-1].append(name)
        filled += size
    several = len(found) > 1
    titles = [f"-{number:05}-of-{len(found):05}" if several else "" for number in range(1, len(found) + 1)]
    return {f"model{title}.safetensors": names for title, names in zip(titles, found, strict=True)}


def write_index(folder: Path, files: Mapping[str, list[str]], total: int) -> None:
    """Write the index that a model of several files has; `total` is the number of the tensors' bytes."""
    if len(files) > 1:
        places = {name: file for file, names in files.items() for name in names}
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _byte_size(dtype: str, shape: tuple[int, ...]) -> int:
    return prod(shape) * SIZES[dtype]
