"""Tensors out of a torch checkpoint, without torch and without running what a pickle may hold.

`torch.save` writes a zip: `*/data.pkl` describes the objects, `*/data/KEY` holds each storage's bytes, packed never.
The unpickler here makes numbers, texts, plain containers and `Stored` tensors; every other class becomes an inert
stub. (The format is that of torch/serialization.py, `_save`.)
"""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _
from ftbridge.weights.tensors.tensor import PIECE, SIZES, FileRange, Tensor

# Storage class to safetensors' dtype.
_STORAGES = {
    "FloatStorage": "F32",
    "BFloat16Storage": "BF16",
    "HalfStorage": "F16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_DIMENSIONS = 64  # torch has no more
_LARGEST = 1 << 48  # items in a tensor


class Stored(msgspec.Struct, frozen=True):
    """A tensor as a pickle describes it, checked by `TorchFile.tensor`: offset and strides count items."""

    dtype: str
    key: Any
    offset: Any
    shape: Any
    stride: Any


class Stub:
    """Stands in for whatever the checkpoint names that is no tensor; takes anything and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take and forget what the class would have been given."""

    def append(self, item: Any) -> None:
        """Forget a list's item."""

    def extend(self, items: Any) -> None:
        """Forget a list's items."""


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Stored:
    kind, key = storage
    return Stored(_STORAGES.get(kind, "") if isinstance(kind, str) else "", key, offset, shape, stride)


_CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): lambda *_: {},
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    # A tensor that has got attributes.
    ("torch._tensor", "_rebuild_from_type_v2"): lambda function, _type, arguments, _state: function(*arguments),
}


class _Unpickler(pickle._Unpickler):  # noqa: SLF001 - the one in C can be made to fill the memory, by a memo's number
    """Knows no class, sets no attribute, and hashes nothing but texts and whole numbers.

    (A tuple of tuples can be made that takes for ever to hash.)
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return name
        return _CONSTRUCTORS.get((module, name), Stub)

    def persistent_load(self, pid: Any) -> Any:
        _unused, kind, key, _unused, _unused = pid
        return kind, key

    def load_build(self) -> None:
        self.stack.pop()

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def load_additems(self) -> None:
        self.pop_mark()

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Stub())

    def _set_items(self, items: list[Any]) -> None:
        if isinstance(target := self.stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, (str, int)))

    dispatch |= {
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
    }


class TorchFile:
    """An opened checkpoint file: `content` is its object, with `Stored` for tensors and `Stub` for the unknown."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises InputError, in one sentence, where it is damaged or no checkpoint."""
        self.path = path
        self._records: dict[str, FileRange] = {}
        with self._report_damage():
            self._zip = zipfile.ZipFile(path)
            pickled = next((name for name in self._zip.namelist() if name.endswith("/data.pkl")), "data.pkl")
            self._prefix = pickled.removesuffix("data.pkl") + "data/"
            with self._zip.open(self._unpacked_entry(pickled)) as file:
                content = _Unpickler(file).load()
        self.content: dict[Any, Any] = content if isinstance(content, dict) else {}

    def tensor(self, stored: Any, name: str) -> Tensor:
        """Return the tensor `name`, its bytes looked up; raises InputError where it cannot be, or is damaged."""
        where = _("`{name}` in `{path}`").format(name=name, path=self.path)
        if not isinstance(stored, Stored) or not stored.dtype:
            raise InputError(
                _("{where} is not a tensor of a kind that can be written; nothing was exported").format(where=where)
            )
        shape, stride, offset = stored.shape, stored.stride, stored.offset
        if not (is_shape(shape) and isinstance(stride, tuple) and len(stride) == len(shape) and is_shape((offset,))):
            raise InputError(
                _("{where} is damaged: it is said to have the shape {shown_shape}").format(
                    where=where, shown_shape=_shown_shape(shape)
                )
            )
        expected = 1
        for length, step in zip(reversed(shape), reversed(stride), strict=True):
            if length > 1 and step != expected and 0 not in shape:
                raise InputError(
                    _("{where} is not stored in one piece, which export does not read").format(where=where)
                )
            expected *= length
        return Tensor(stored.dtype, shape, (self._file_range(stored, where),))

    def _file_range(self, stored: Stored, where: str) -> FileRange:
        item = SIZES[stored.dtype]
        size = prod(stored.shape) * item
        if not size:  # torch may have left its empty storage out
            return FileRange(self.path, 0, 0)
        record = self._storage_range(str(stored.key) if isinstance(stored.key, (str, int)) else "")
        if stored.offset * item + size > record.size:
            raise InputError(_("{where} is damaged: it reaches beyond its bytes").format(where=where))
        return FileRange(self.path, record.start + stored.offset * item, size)

    def _storage_range(self, key: str) -> FileRange:
        """Return where a storage's bytes are, once they are known to have the zip's checksum."""
        if key not in self._records:
            with self._report_damage():
                info = self._unpacked_entry(self._prefix + key)
                with self._zip.open(info) as stream:
                    while stream.read(PIECE):
                        pass
                with self.path.open("rb") as file:
                    file.seek(info.header_offset + 26)  # the header's last two fields: lengths of what follows it
                    name, extra = int.from_bytes(file.read(2), "little"), int.from_bytes(file.read(2), "little")
                self._records[key] = FileRange(self.path, info.header_offset + 30 + name + extra, info.file_size)
        return self._records[key]

    def _unpacked_entry(self, name: str) -> zipfile.ZipInfo:
        info = self._zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise zipfile.BadZipFile(_("{name} is packed, which torch never does").format(name=name))
        return info

    @contextmanager
    def _report_damage(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            message = _("`{path}` is damaged or no checkpoint: {name}: {error}").format(
                path=self.path, name=type(error).__name__, error=str(error)[:200]
            )
            raise InputError(message) from error


def is_shape(values: Any) -> bool:
    """Tell whether `values` can be a shape: a few whole numbers, with a product that a tensor may have."""
    return (
        isinstance(values, tuple)
        and len(values) <= _DIMENSIONS
        and all(type(value) is int and 0 <= value <= _LARGEST for value in values)
        and prod(values) <= _LARGEST
    )


def _shown_shape(value: Any) -> str:
    return (
        str(value)[:80] if isinstance(value, tuple) and all(type(each) is int for each in value) else _("of no numbers")
    )
