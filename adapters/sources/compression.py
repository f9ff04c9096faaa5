"""Files packed by gzip or Zstandard, read as if they were not."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import AnyPath
from ftbridge.language import gettext as _

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Yield the content of `path` as a binary file, unpacked where it is gzip or zstd by its first bytes.

    Raises InputError where it cannot be read or is damaged, in the block as well.
    """
    import gzip
    import zlib

    import zstandard

    try:
        with path.open("rb") as file:
            magic = file.peek(4)[:4]
            if magic[:2] == GZIP:
                with gzip.open(file) as plain:
                    yield cast("IO[bytes]", plain)
            elif magic == ZSTD:
                yield io.BufferedReader(_ZstdReader(file), 1 << 16)
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise InputError(_("`{path}` is compressed and damaged: {error}").format(path=path, error=error)) from error
    except OSError as error:
        raise InputError(
            _("`{path}` cannot be read: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error


def first_bytes(path: Path) -> bytes:
    """Return the first 4 KiB of a file's content, unpacked, b"" for a folder; raises InputError as `unpacked` does."""
    if path.is_dir():
        return b""
    with open_unpacked(path) as file:
        return file.read(4096)


class _ZstdReader(io.RawIOBase):
    """Unpacks zstd frames; unlike the library's own reader, it notices a frame that breaks off."""

    # No more than 32 MiB come out of so many bytes: a block is 4 bytes at least, and 128 KiB unpacked at most.
    FEED = 1 << 10

    def __init__(self, file: IO[bytes]) -> None:
        from zstandard import ZstdDecompressor

        self._file = file
        self._frame = ZstdDecompressor().decompressobj
        self._open = self._frame()
        self._packed = b""
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            self._packed = self._packed or self._file.read(self.FEED)
            if self._open.eof and self._packed:
                self._open = self._frame()
            elif not self._packed:
                if not self._open.eof:
                    raise EOFError(_("it is truncated"))
                return 0
            self._unpacked = memoryview(self._open.decompress(self._packed))
            self._packed = self._open.unused_data
        size = min(len(buffer), len(self._unpacked))
        buffer[:size], self._unpacked = self._unpacked[:size], self._unpacked[size:]
        return size


def unpacked_name(path: AnyPath) -> AnyPath:
    """Return `path` without the suffix of its packing: `faq.csv` for `faq.csv.gz`."""
    return path.with_suffix("") if path.suffix.lower() in {".gz", ".zst", ".zstd"} else path


def is_packed(path: Path) -> bool:
    """Tell whether `path` is gzip or zstd."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic[:2] == GZIP or magic == ZSTD
