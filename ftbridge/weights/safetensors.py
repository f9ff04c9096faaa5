"""Writing of safetensors files: 8 bytes of header length, the header as JSON, the tensors' bytes."""

import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ftbridge.core.files import atomic_file


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


def write(path: Path, tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> None:
    """Write (name, dtype, shape, bytes) of each tensor; names and order are kept."""
    tensors = list(tensors)
    with atomic_file(path) as file:
        file.write(header((name, dtype, shape, len(data)) for name, dtype, shape, data in tensors))
        for *_, data in tensors:
            file.write(data)
