"""Files that are never half-written, and never written by two at once."""

import errno
import glob
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO, Any, TypeVar

from ftbridge.core.errors import InputError, SetupError
from ftbridge.language import english
from ftbridge.language import gettext as _

AnyPath = TypeVar("AnyPath", bound=PurePath)
# What one line or cell may hold, in bytes or characters: no sample is as long, and a hostile file must not fill memory.
LONGEST = 16 << 20
# The largest text that is read whole: the largest tokenizers have half as much.
LARGEST_TEXT = 64 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the place of `path` when the block ends well, and vanishes when not.

    Raises SetupError where the folder cannot be written or the disk is full.
    """
    with scratch_file(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        put_in_place(file, path)


@contextmanager
def scratch_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file beside `path`, to write and to read; it is gone after the block, unless put in place before.

    What a killed process has left behind for `path` is removed. Raises SetupError where the folder cannot be
    written or the disk is full, in the block as well, and where a device or a pipe stands at `path`: root could replace
    `/dev/null`.
    """
    if _is_device(path):
        raise SetupError(_("cannot write `{path}`: it is not a regular file").format(path=path))
    # Named before it is made: it goes whenever Ctrl-C comes.
    temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_scratch_files(path)
        with temporary.open("x+b") as file:
            flock(file)
            yield file
    except OSError as error:
        raise SetupError(
            _("cannot write `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_device(path: Path) -> bool:
    """Tell whether something stands at `path` that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def scratch_files_of(path: Path) -> Iterator[Path]:
    """Yield what processes write, or have left behind, for `path`; nothing of another one whose name begins alike."""
    # Eight characters, as tempfile and `scratch_file` make them: `.a.b.0123abcd.part` is for `a.b`, not for `a`.
    return path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-z_]' * 8}.part")


def remove_scratch_files(path: Path) -> None:
    """Remove the scratch files that a killed process has left behind for `path`."""
    for left in scratch_files_of(path):
        with suppress(OSError), left.open("rb") as file:
            if flock(file):
                left.unlink()


def put_in_place(file: IO[bytes], path: Path) -> None:
    """Put a scratch file at `path`, in one step."""
    file.flush()
    scratch = Path(file.name)
    scratch.chmod(0o666 & ~_umask())
    scratch.replace(path)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Put `content` (text as UTF-8) at `path` in one step; raises SetupError where that fails."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Put `content`, messages in English, at `path` as JSON, in one step; raises SetupError where that fails."""
    import msgspec

    write_atomic(path, msgspec.json.format(msgspec.json.encode(content, enc_hook=english)) + b"\n")


@contextmanager
def locked(path: Path, patience: float = 60) -> Iterator[None]:
    """Hold the lock that belongs to the shared file `path`: `.<name>.lock` beside it.

    Raises SetupError when somebody else holds it for more than `patience` seconds (-1: however long that takes), or
    where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, timeout=patience)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        message = _(
            "another process has held `{file}` for {patience:g} seconds; stop it, or delete that file if "
            "there is no such process"
        ).format(file=file, patience=patience)
        raise SetupError(message) from error
    except OSError as error:
        raise SetupError(
            _("cannot write `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_text(path: Path, what: str) -> str:
    """Return the UTF-8 text of `path`; raises InputError, naming `what` it should be, where it cannot."""
    try:
        with opened_record(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST_TEXT:
                raise InputError(
                    _("the {what} `{path}` is larger than {largest_text} MiB; is it another file?").format(
                        what=what, path=path, largest_text=LARGEST_TEXT >> 20
                    )
                )
            content = file.read()
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as error:
        raise InputError(_("there is no {what} at `{path}`").format(what=what, path=path)) from error
    except UnicodeDecodeError as error:
        raise InputError(
            _("the {what} `{path}` is not in UTF-8; save it as UTF-8").format(what=what, path=path)
        ) from error
    except OSError as error:
        raise InputError(
            _("cannot read the {what} `{path}`: {strerror}").format(what=what, path=path, strerror=error.strerror)
        ) from error


@contextmanager
def opened_record(path: Path, most: int | None = None) -> Iterator[IO[bytes]]:
    """Yield a file to read from, which is never waited for; raises OSError where it is none, or has over `most` bytes.

    What stands in a folder may be anything: a pipe that nobody writes to, a device, a file without an end.
    """
    # A pipe would wait for a writer here.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, _("it is not a regular file"), str(path))
        if most is not None and about.st_size > most:
            raise OSError(errno.EFBIG, _("it has more than {most:,} bytes").format(most=most), str(path))
        yield file


def read_record(path: Path, most: int = LONGEST) -> bytes:
    """Return the content of a small file; raises InputError where none can be read, or it has over `most` bytes."""
    try:
        with opened_record(path, most) as file:
            return file.read()
    except OSError as error:
        raise InputError(
            _("cannot read `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
        ) from error


def sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal digits; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(files: Mapping[str, Path]) -> str:
    """Return one sha256 of several files: of the lines that sha256sum would print for their names, in this order.

    Raises OSError where one cannot be read.
    """
    lines = "".join(f"{sha256(file)}  {name}\n" for name, file in files.items())
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def flock(file: IO[bytes] | int) -> bool:
    """Mark `file` as in use while this process and its children live; tell whether nobody else has.

    Not what `locked` is for: filelock waits, with a time-out, and its lock ends with the block. This one tells who is
    alive: children inherit it with the open file, and it goes with the last of them.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # not on Windows
        return False
    return True


def is_locked(path: Path) -> bool | None:
    """Tell whether a process holds the file as `flock` does; None where it is not there or that cannot be told."""
    try:
        import fcntl

        with opened_record(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return None
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in the lines of `file`; nothing where it cannot be read."""
    with suppress(OSError), opened_record(file) as opened:
        yield from parse_json_lines(iter(lambda: opened.readline(LONGEST), b""))


def parse_json_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of `lines`, one each; frameworks write NaN, which only Python's own reader takes."""
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # a line that a full disk, or a kill, has cut
            continue
        if isinstance(value, dict):
            yield value
