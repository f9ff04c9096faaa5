"""The processor, memory, disk and CUDA toolkit of this machine, within the limits of a container."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

GIB = 1024**3
CUDA_FOLDER = Path("/usr/local/cuda")
# Instructions for bfloat16, as /proc/cpuinfo calls them: x86-64's, and ARM's.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
CPU_INFO = Path("/proc/cpuinfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def cuda_toolkit() -> Path | None:
    """Return the folder of the CUDA toolkit, looked for as torch.utils.cpp_extension does; None where there is none.

    What CUDA_HOME or CUDA_PATH names is returned without a look at it.
    """
    if named := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return Path(named)
    if nvcc := shutil.which("nvcc"):
        return Path(nvcc).parent.parent
    return CUDA_FOLDER if CUDA_FOLDER.exists() else None


def free_space(folder: Path) -> tuple[int, Path]:
    """Return the bytes that are free where `folder` is or would be made, and the nearest parent that exists."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).free, existing


def available_memory() -> int:
    """Return the bytes of main memory that programs can still have, here or in this container; 0 where not known."""
    import psutil

    free = 0
    with suppress(OSError):
        free = psutil.virtual_memory().available
    return min([free, *_available_in_cgroups()])  # psutil knows nothing of control groups


def _available_in_cgroups() -> Iterator[int]:
    """Yield the bytes of memory that each control group leaves to this process.

    Pages of files that were not used lately are given back when memory is wanted, so they count as free.
    """
    for is_version_1, folder in _cgroup_folders("memory"):
        names = ("memory.max", "memory.current", "inactive_file")
        if is_version_1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        # ValueError: the limit is "max"; OSError: a container sees its own group as the top.
        with suppress(OSError, ValueError, KeyError):
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names[:2])
            pages = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            yield max(0, limit - used + int(dict(page.split(" ", 1) for page in pages)[names[2]]))


def cores() -> int:
    """Return how many of the processor's cores this process may use: those it may run on, or a container's quota."""
    found = len(os.sched_getaffinity(0))
    for is_version_1, folder in _cgroup_folders("cpu"):
        with suppress(OSError, ValueError):  # as above; -1 is no limit, too
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_version_1 else ("cpu.max",)
            quota, period = map(int, " ".join((folder / name).read_text(encoding="ascii") for name in names).split())
            found = min(found, math.ceil(quota / period)) if quota > 0 else found
    return found


def _cgroup_folders(controller: str) -> Iterator[tuple[bool, Path]]:
    """Yield the folders of the control groups (a container, a Slurm job) that this process is in, inner ones first.

    Before each stands whether it is of version 1 of control groups.
    """
    with suppress(OSError):
        for line in OWN_CGROUPS.read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and controller not in controllers.split(","):
                continue
            top = CGROUPS if number == "0" else CGROUPS / controller
            inner = top / path.lstrip("/")
            for folder in (inner, *(each for each in inner.parents if each.is_relative_to(top))):
                yield number != "0", folder


@cache
def processor() -> tuple[str, bool]:
    """Return the processor's name, and whether it has instructions for bfloat16 (without, each takes many others).

    psutil knows neither.
    """
    lines: dict[str, str] = {}
    with suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            lines.setdefault(key.strip(), value.strip())
    flags = lines.get("flags") or lines.get("Features") or ""
    return lines.get("model name") or os.uname().machine, bool(BFLOAT16_FLAGS.intersection(flags.split()))
