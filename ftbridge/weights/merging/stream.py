"""The bytes of a merge: some computed by a script of the training environment, the others copied meanwhile."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftbridge.core.console import natural_size, progress
from ftbridge.core.errors import FrameworkError, InputError, SetupError
from ftbridge.core.process.json_lines import ChildEndedError
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.process.script import start_script

_PIECE_SIZE = 1 << 22  # bytes
# For glibc: memory that was used once is kept for the next piece instead of being asked for again.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}


class Copy(NamedTuple):
    """Bytes that go from one file to another, `size` of them."""

    source: str
    at: int
    target: str
    to: int
    size: int


class _Report(msgspec.Struct, frozen=True):
    done: int = 0
    error: str = ""
    gpu_error: str = ""
    unchanged: list[str] | None = None

    @property
    def is_progress(self) -> bool:
        return self.unchanged is None and not self.error and not self.gpu_error


def stream(python: Path, plan: Path, copies: Sequence[Copy], total: int, gpus: Sequence[Gpu] = ()) -> list[str]:
    """Do the plan's computing and the copies at the same time; return the tensors that did not change.

    `total` is the size of all in bytes, `gpus` are those that the plan computes on. Raises InputError with the script's
    sentence, SetupError where the GPU fails, FrameworkError where the script dies.
    """
    copied = computed = 0
    has_answered = False  # until the script has started, copies tell nothing of how long all of it takes

    def line(done: int) -> str:
        return _("merged {done} of {total}").format(done=natural_size(done), total=natural_size(total))

    with (
        progress(_("merging"), "bar", "bytes", "time", total=total, line=line) as show,
        ThreadPoolExecutor(1) as pool,
        start_script(
            python, "merge_adapter", str(plan), environment=_KEEP_MEMORY | devices.device_variables(gpus)
        ) as script,
    ):

        def follow() -> _Report:
            nonlocal computed, has_answered
            while True:
                report = msgspec.convert(script.receive(), _Report)
                has_answered = True
                if not report.is_progress:
                    return report
                computed = max(computed, report.done)
                show(copied + computed)

        def count(size: int) -> None:
            nonlocal copied
            copied += size
            if has_answered:
                show(copied + computed)

        following = pool.submit(follow)
        copy_ranges(copies, count)
        try:
            last = following.result()
        except ChildEndedError as ended:
            raise FrameworkError(
                _("the helper that merges died; its last messages:\n{messages}").format(messages=ended.messages)
            ) from ended
        if last.error:
            raise InputError(last.error)
        if last.gpu_error:
            raise SetupError(
                _("the GPU failed in the merge ({gpu_error}); `--device cpu` does it without").format(
                    gpu_error=last.gpu_error
                )
            )
    return last.unchanged or []


def copy_ranges(copies: Sequence[Copy], count: Callable[[int], None]) -> None:
    """Copy bytes into files that are there; raises InputError where a source ends too early."""
    buffer = memoryview(bytearray(_PIECE_SIZE))
    for source, at, target, to, size in copies:
        with Path(source).open("rb", buffering=0) as reading, Path(target).open("r+b") as writing:
            reading.seek(at)
            writing.seek(to)
            left = size
            while left:
                got = reading.readinto(buffer[: min(left, _PIECE_SIZE)])
                if not got:
                    raise InputError(_("`{source}` has become shorter while it was read").format(source=source))
                writing.write(buffer[:got])
                count(got)
                left -= got
