"""Tensors that stay in their files: stretches of bytes, read piece by piece."""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _

PIECE = 1 << 18  # bytes: what the cache holds is rounded fastest; a multiple of every item's size
# Bytes of an item, by the name that safetensors gives a dtype.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class FileRange(msgspec.Struct, frozen=True):
    """The `size` bytes of `file` from byte `start` on."""

    file: Path
    start: int
    size: int


class Tensor(msgspec.Struct, frozen=True):
    """A tensor whose bytes are those of its parts, one after another."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[FileRange, ...]

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return prod(self.shape) * SIZES[self.dtype]

    @property
    def place(self) -> FileRange:
        """Return where the bytes are, of a tensor that lies in one stretch, as all in a model's own files do."""
        [place] = self.parts
        return place

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in order; raises InputError where they are no longer all there."""
        for part in self.parts:
            left = part.size
            try:
                with part.file.open("rb") as file:
                    file.seek(part.start)
                    while left and (data := file.read(min(left, PIECE))):
                        left -= len(data)
                        yield data
            except OSError as error:
                raise InputError(
                    _("cannot read `{file}`: {strerror}").format(file=part.file, strerror=error.strerror or error)
                ) from error
            if left:
                raise InputError(
                    _("`{file}` is damaged: it ends {left} bytes too early").format(file=part.file, left=left)
                )


def slice_ranges(parts: Iterable[FileRange], start: int, size: int) -> Iterator[FileRange]:
    """Yield `size` bytes, from byte `start` on, of what the parts hold one after another."""
    for part in parts:
        begin, end = max(start, 0), min(start + size, part.size)
        if begin < end:
            yield FileRange(part.file, part.start + begin, end - begin)
        start -= part.size


def round_float32(tensor: Tensor, dtype: str) -> Iterator[bytes]:
    """Yield the bytes of a float32 tensor in bfloat16 (BF16) or float16 (F16), each number rounded once to the nearest.

    Of two that are as near the even one is taken, and what is too large becomes infinite, as torch does both.
    """
    import ml_dtypes
    import numpy as np

    for data in tensor.pieces():
        values = np.frombuffer(data, "<f4")
        if dtype == "F16":
            with np.errstate(over="ignore"):
                yield values.astype("<f2").tobytes()
        else:
            halves = values.astype(ml_dtypes.bfloat16)
            halves[np.isnan(values)] = np.nan  # torch drops the sign of what is not a number
            yield halves.tobytes()
