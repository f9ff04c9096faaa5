"""Tensors out of a torch checkpoint, without torch and without running what a pickle may hold.

`torch.save` writes a zip: `*/data.pkl` describes the objects, `*/data/KEY` holds each storage's bytes. The
unpickler here makes tensors and plain containers; every other class becomes an inert stub. (The format is
that of torch/serialization.py, `_save`.)
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError

# Storage class to safetensors dtype and item size in bytes.
_STORAGES = {
    "FloatStorage": ("F32", 4),
    "BFloat16Storage": ("BF16", 2),
    "HalfStorage": ("F16", 2),
    "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}


class Tensor(msgspec.Struct, frozen=True):
    """A tensor in a checkpoint: `record` is the storage's entry in the zip, `offset` counts items."""

    dtype: str
    shape: tuple[int, ...]
    record: str
    offset: int
    item: int

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        count = self.item
        for length in self.shape:
            count *= length
        return count


class Stub:
    """Stands in for whatever the checkpoint names that is no tensor; takes anything and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take and forget what the class would have been given."""

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""

    def append(self, item: Any) -> None:
        """Forget a list's item."""

    def extend(self, items: Any) -> None:
        """Forget a list's items."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget a dict's item."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return name
        known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        return known.get((module, name), Stub)

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, _ = pid
        return kind, key


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    kind, key = storage
    if kind not in _STORAGES:
        return Stub()
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length != 1 and step != expected:
            raise InputError("the checkpoint holds a tensor that does not lie in one piece")
        expected *= length
    dtype, item = _STORAGES[kind]
    return Tensor(dtype, tuple(shape), key, offset, item)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


class Checkpoint:
    """An opened checkpoint file: `content` is its object, with `Tensor` for tensors and `Stub` for the unknown."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises InputError, in one sentence, where it is damaged or no checkpoint."""
        try:
            self.zip = zipfile.ZipFile(path)
            pickled = next(name for name in self.zip.namelist() if name.endswith("/data.pkl"))
            self.prefix = pickled.removesuffix("data.pkl")
            with self.zip.open(pickled) as file:
                self.content = _Unpickler(file).load()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"`{path}` is damaged or no checkpoint: {type(error).__name__}: {error}") from error

    def read(self, tensor: Tensor) -> bytes:
        """Return the tensor's bytes; raises InputError where they are damaged."""
        try:
            data = self.zip.read(f"{self.prefix}data/{tensor.record}")
        except Exception as error:
            raise InputError(f"`{self.zip.filename}` is damaged: {error}") from error
        start = tensor.offset * tensor.item
        if not 0 <= start <= start + tensor.size <= len(data):
            raise InputError(f"`{self.zip.filename}` is damaged: a tensor reaches beyond `{tensor.record}`")
        return data[start : start + tensor.size]

    def tensors(self) -> dict[str, Tensor]:
        """Return the model's tensors by name, from XTuner's `state_dict` or DeepSpeed's `module`."""
        content = self.content if isinstance(self.content, dict) else {}
        found = content.get("state_dict") or content.get("module") or {}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}
