"""Writing of safetensors files: 8 bytes of header length, the header as JSON, the tensors' bytes."""

import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ftbridge.core.files import atomic_file


def write(path: Path, tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> None:
    """Write (name, dtype, shape, bytes) of each tensor; names and order are kept."""
    tensors = list(tensors)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (offset, offset + len(data))}
        offset += len(data)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for *_, data in tensors:
            file.write(data)
