"""The GPUs of this machine, as nvidia-smi lists them; torch is never asked."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.process import children
from ftbridge.language import gettext as _
from ftbridge.language import joined

# A driver that hangs never answers; a GPU in a power-saving state takes some seconds.
TIMEOUT = 20  # seconds
ANSWER_LIFETIME = 10  # seconds for which an answer of nvidia-smi counts, so that one command asks once
BFLOAT16_CAPABILITY = 8.0  # compute capability of Ampere, from which on there is bfloat16 and FlashAttention 2
# What a driver makes where there is a GPU, also in a container.
DRIVER_FILES = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
# Values of CUDA_VISIBLE_DEVICES that hide every GPU on purpose.
HIDING_VALUES = {"", "-1", "none", "void", "NoDevFiles"}
COLUMNS = ("index", "uuid", "name", "memory.total", "compute_cap", "driver_version", "memory.free", "mig.mode.current")
_LISTED_DEVICE = re.compile(r"\s*(GPU|MIG) (.*?)\s*\(UUID: (\S+)\)")
_BROKEN_GPU = re.compile(r"is lost|Unknown Error|requires reset")
# With older drivers these GPUs claim to reach each other's memory, and NCCL hangs (accelerate/utils/environment.py).
NO_PEER_ACCESS = "RTX 40"
PEER_ACCESS_DRIVER = (550, 40, 7)


class Gpu(msgspec.Struct, frozen=True):
    """One visible GPU, or a MIG slice of one: its name, memory in MiB, compute capability, driver, and free memory.

    Memory and compute capability (8.0: bfloat16) are None where nvidia-smi does not tell.
    """

    name: str
    memory: int | None
    capability: float | None
    driver: str
    free: int | None = None
    uuid: str = ""

    @property
    def bfloat16(self) -> bool:
        """Tell whether the GPU is known to have bfloat16 and FlashAttention 2."""
        return self.capability is not None and self.capability >= BFLOAT16_CAPABILITY

    @property
    def is_slice(self) -> bool:
        """Tell whether this is a slice of a GPU (MIG), which cannot train together with others."""
        return self.uuid.startswith("MIG-")


class _PhysicalGpu(msgspec.Struct, frozen=True):
    """A GPU as nvidia-smi numbers it, and what a program can use of it: the whole of it, or its MIG slices."""

    index: str
    whole: Gpu
    usable: tuple[Gpu, ...]
    may_have_unlisted: bool = False  # slices that nvidia-smi does not show here


def gpus() -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in its order; none without a driver.

    Numbers in it count as nvidia-smi does (CUDA_DEVICE_ORDER=PCI_BUS_ID).
    """
    physical = _physical_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [gpu for each in physical for gpu in each.usable]
    found: list[Gpu] = []
    for item in visible.split(","):
        named = _gpus_of_item(item.strip(), physical)
        if not named:  # CUDA itself stops at the first that it does not know
            if found:
                _say_once(
                    _("CUDA_VISIBLE_DEVICES is `{visible}`: `{item}` names no GPU here, and CUDA stops at it").format(
                        visible=visible, item=item
                    )
                )
            break
        found += [gpu for gpu in named if gpu not in found]
    return found


def _gpus_of_item(item: str, physical: list[_PhysicalGpu]) -> list[Gpu]:
    """Return what an item of CUDA_VISIBLE_DEVICES names: a number, or the beginning of a uuid."""
    if item.startswith("MIG-"):
        return _slices_by_uuid(item, physical)
    if item.startswith("GPU-"):
        return [gpu for each in physical if each.whole.uuid.startswith(item) for gpu in each.usable]
    return [gpu for each in physical if each.index == item for gpu in each.usable]


def _slices_by_uuid(beginning: str, physical: list[_PhysicalGpu]) -> list[Gpu]:
    listed = [gpu for each in physical for gpu in each.usable if gpu.uuid.startswith(beginning)]
    # A container may be shown a slice and not the list of slices: it is one of these GPUs'.
    parents = [each.whole for each in physical if each.may_have_unlisted]
    if listed or not parents:
        return listed
    return [_mig_slice(min(parents, key=lambda gpu: gpu.capability or 0), "MIG", beginning)]


def _physical_gpus() -> list[_PhysicalGpu]:
    found = []
    for line in gpu_query().splitlines():
        row = _cells_by_column(line)
        if not row:
            if _BROKEN_GPU.search(line):
                _say_once(_("a GPU is left out; nvidia-smi says: {line}").format(line=line.strip()[:200]))
            continue
        index, mode = row["index"], row.get("mig.mode.current", "")
        if lost := next((cell for cell in row.values() if _BROKEN_GPU.search(cell)), ""):
            _say_once(
                _("GPU {index} does not answer (nvidia-smi: {lost}) and is left out; restart the machine").format(
                    index=index, lost=lost
                )
            )
            continue
        uuid = row["uuid"] if row["uuid"].startswith("GPU-") else index
        gpu = Gpu(
            row["name"],
            _whole_number(row["memory.total"]),
            _decimal(row["compute_cap"]),
            row["driver_version"],
            _whole_number(row["memory.free"]),
            uuid,
        )
        listed = _mig_slices(gpu) if mode == "Enabled" else ()
        # Where the slices are not listed, one of them is what the GPU's own uuid means.
        usable = listed or (_mig_slice(gpu, "MIG", uuid) if mode == "Enabled" else gpu,)
        found.append(_PhysicalGpu(index, gpu, usable, may_have_unlisted=not listed and mode != "Disabled"))
    return found


def _cells_by_column(line: str) -> dict[str, str]:
    """Return the cells of a line by column; {} for a line that is no GPU's.

    A GPU's name may hold commas, and what an older driver says ends before `mig.mode.current`.
    """
    cells = [cell.strip() for cell in line.split(",")]
    has_mode = cells[-1] in {"Enabled", "Disabled"} or len(cells) == len(COLUMNS)
    columns = COLUMNS if has_mode else COLUMNS[:-1]
    behind = len(columns) - columns.index("name") - 1
    if len(cells) < len(columns):
        return {}
    named = [*cells[:2], ", ".join(cells[2:-behind]), *cells[-behind:]]
    return dict(zip(columns, named, strict=True))


def _mig_slices(whole: Gpu) -> tuple[Gpu, ...]:
    """Return the MIG slices of a GPU; CUDA takes one of them for a process, and the GPU's memory is not theirs."""
    found, parent = [], ""
    for listed in filter(None, map(_LISTED_DEVICE.match, _ask_nvidia_smi("--list-gpus").splitlines())):
        kind, title, uuid = listed.groups()
        if kind == "GPU":
            parent = uuid
        elif parent == whole.uuid:
            found.append(_mig_slice(whole, _("MIG {split}").format(split=title.split()[0]), uuid))
    return tuple(found)


def _mig_slice(parent: Gpu, title: str, uuid: str) -> Gpu:
    return Gpu(f"{parent.name} {title}", None, parent.capability, parent.driver, None, uuid)


@cache
def _say_once(text: str) -> None:
    say(text)


def gpu_query() -> str:
    """Return what nvidia-smi prints of the GPUs: a line of `COLUMNS` for each, else its complaint; "" without it."""
    output = _ask_nvidia_smi(f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits")
    if "not a valid field" not in output:
        return output
    # Older drivers know neither of these, and answer nothing for a query with one that they do not know.
    known = [column for column in COLUMNS if column not in {"compute_cap", "mig.mode.current"}]
    older = _ask_nvidia_smi(f"--query-gpu={','.join(known)}", "--format=csv,noheader,nounits")
    rows = [line.rsplit(",", 2) for line in older.splitlines() if line.count(",") >= len(known) - 1]
    return "\n".join(f"{first}, [N/A], {driver}, {free}" for first, driver, free in rows) or output


_answers: dict[tuple[str, ...], tuple[float, str]] = {}


def _ask_nvidia_smi(*arguments: str) -> str:
    """Return what nvidia-smi prints; on a server it takes seconds, so an answer counts for a while."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    key = (program, *arguments)
    if key not in _answers or time.monotonic() - _answers[key][0] > ANSWER_LIFETIME:
        output = run_nvidia_smi(*key)
        _answers[key] = time.monotonic(), output
    return _answers[key][1]


def run_nvidia_smi(*argv: str) -> str:
    """Return what a command line of nvidia-smi prints, or a sentence on why it prints nothing within its time."""
    try:
        done = children.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return _("nvidia-smi has not answered in {timeout} s").format(timeout=TIMEOUT)
    silent = done.returncode and not done.stdout.strip()
    return (
        _("nvidia-smi ended with exit status {returncode} and said nothing").format(returncode=done.returncode)
        if silent
        else done.stdout
    )


def _whole_number(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _decimal(cell: str) -> float | None:
    return float(cell) if re.fullmatch(r"\d+(\.\d+)?", cell) else None


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as a driver's: (550, 40, 7); () where it has none."""
    return tuple(map(int, re.findall(r"\d+", text)))


def why_unusable() -> str:
    """Return why the NVIDIA GPU that this machine seems to have is not used, "" where it seems to have none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in HIDING_VALUES:
        return ""
    if physical := _physical_gpus():
        known = joined(", ", (f"{each.index} ({each.whole.name}, {each.whole.uuid})" for each in physical))
        return _("CUDA_VISIBLE_DEVICES is `{visible}`, which names none of the GPUs here: {known}").format(
            visible=visible, known=known
        )
    output = " ".join(gpu_query().split())[:300].rstrip(".")
    files = [str(file) for file in DRIVER_FILES if file.exists()]
    if output and (files or "No devices were found" not in output):
        return _("the NVIDIA driver does not work; nvidia-smi says: {output}").format(output=output)
    if files:
        return _(
            "{file} is there, and nvidia-smi, which tells what the GPU is, is not on the path; "
            "install it, or start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        ).format(file=files[0])
    return (
        _("CUDA_VISIBLE_DEVICES is `{visible}`, and there is no NVIDIA GPU; unset it").format(visible=visible)
        if visible
        else ""
    )


def freest_first(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs, the one with the most free memory first; those whose free memory is not known come last."""
    return sorted(gpus, key=lambda gpu: -1 if gpu.free is None else gpu.free, reverse=True)


def driver_without_peers() -> str:
    """Return the driver of a machine whose several RTX 40xx cannot reach each other with it, else "".

    accelerate refuses to start there, even on one of them, unless NCCL is told not to try.
    """
    whole = [each.whole for each in _physical_gpus()]
    for gpu in whole:
        is_older = () < version_numbers(gpu.driver) < PEER_ACCESS_DRIVER
        if NO_PEER_ACCESS in gpu.name and is_older and len(whole) > 1:
            return gpu.driver
    return ""
