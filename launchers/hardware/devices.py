"""What this machine has to compute with; asks nvidia-smi, never torch."""

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.process import children
from ftbridge.core.train_spec import TrainSpec

# A driver that hangs never answers; a card that sleeps takes some seconds.
PATIENCE = 20  # seconds
FRESH = 10  # seconds for which an answer of nvidia-smi counts, so that one command asks once
GIB = 1024**3
# What torch calls the options of its allocator, before 2.9 and since.
ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
BFLOAT16 = 8.0  # compute capability of Ampere, from which on there is bfloat16 and FlashAttention 2
TOOLKIT = Path("/usr/local/cuda")
# Instructions for bfloat16, as /proc/cpuinfo calls them: x86-64's, and ARM's.
CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
CPU_INFO = Path("/proc/cpuinfo")
CGROUPS, GROUPS_OF_THIS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# What a driver makes where there is a card, also in a container.
DRIVER_FILES = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
HIDDEN = {"", "-1", "none", "void", "NoDevFiles"}  # values of CUDA_VISIBLE_DEVICES that hide every GPU on purpose
COLUMNS = ("index", "uuid", "name", "memory.total", "compute_cap", "driver_version", "memory.free", "mig.mode.current")
_LISTED = re.compile(r"\s*(GPU|MIG) (.*?)\s*\(UUID: (\S+)\)")
_BROKEN = re.compile(r"is lost|Unknown Error|requires reset")
# With older drivers these cards claim to reach each other's memory, and NCCL hangs (accelerate/utils/environment.py).
NO_PEERS, PEERS_DRIVER = "RTX 40", (550, 40, 7)


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
        """Tell whether the card is known to have bfloat16 and FlashAttention 2."""
        return self.capability is not None and self.capability >= BFLOAT16

    @property
    def is_slice(self) -> bool:
        """Tell whether this is a part of a card (MIG), which cannot train together with others."""
        return self.uuid.startswith("MIG-")


class Machine(msgspec.Struct, frozen=True):
    """What a run computes on: `device` is "cuda" or "cpu", `processes` how many, `dtype` as torch calls it.

    `gpus` are those that it computes on, as they were when it was decided.
    """

    device: str
    processes: int
    dtype: str
    gpus: tuple[Gpu, ...] = ()


class _Card(msgspec.Struct, frozen=True):
    """A card as nvidia-smi numbers it, and what a program can use of it: the card, or its MIG slices."""

    index: str
    gpu: Gpu
    parts: tuple[Gpu, ...]
    unlisted: bool = False  # whether it may have slices that nvidia-smi does not show here


def gpus() -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in its order; none without a driver.

    Numbers in it count as nvidia-smi does (CUDA_DEVICE_ORDER=PCI_BUS_ID).
    """
    cards = _cards()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [gpu for card in cards for gpu in card.parts]
    found: list[Gpu] = []
    for item in visible.split(","):
        named = _named(item.strip(), cards)
        if not named:  # CUDA itself stops at the first that it does not know
            if found:
                _say_once(f"CUDA_VISIBLE_DEVICES is `{visible}`: `{item}` names no GPU here, and CUDA stops at it")
            break
        found += [gpu for gpu in named if gpu not in found]
    return found


def _named(item: str, cards: list[_Card]) -> list[Gpu]:
    """Return what an item of CUDA_VISIBLE_DEVICES names: a number, or the beginning of a uuid."""
    if not item.startswith(("GPU-", "MIG-")):
        return [gpu for card in cards if card.index == item for gpu in card.parts]
    named = [gpu for card in cards for gpu in card.parts if item.startswith("MIG-") and gpu.uuid.startswith(item)]
    named += [gpu for card in cards for gpu in card.parts if card.gpu.uuid.startswith(item)]
    # A container may be shown a slice and not the list of slices: it is one of these cards'.
    parents = [card.gpu for card in cards if card.unlisted]
    if named or not parents or item.startswith("GPU-"):
        return named
    return [_slice(min(parents, key=lambda gpu: gpu.capability or 0), "MIG", item)]


def _cards() -> list[_Card]:
    cards = []
    for line in smi().splitlines():
        row = _row(line)
        if not row:
            if _BROKEN.search(line):
                _say_once(f"a GPU is left out; nvidia-smi says: {line.strip()[:200]}")
            continue
        if lost := next((cell for cell in row if _BROKEN.search(cell)), ""):
            _say_once(f"GPU {row[0]} does not answer (nvidia-smi: {lost}) and is left out; restart the machine")
            continue
        uuid = row[1] if row[1].startswith("GPU-") else row[0]
        gpu = Gpu(row[2], _mebibytes(row[3]), _number(row[4]), row[5], _mebibytes(row[6]), uuid)
        mode = row[7] if len(row) == len(COLUMNS) else ""
        listed = _slices(gpu) if mode == "Enabled" else ()
        # Where the slices are not listed, one of them is what the card's own uuid means.
        whole = _slice(gpu, "MIG", uuid) if mode == "Enabled" else gpu
        cards.append(_Card(row[0], gpu, listed or (whole,), unlisted=not listed and mode != "Disabled"))
    return cards


def _row(line: str) -> list[str]:
    """Return the cells of a line, whose name may hold commas; [] for a line that is no card's."""
    cells = [cell.strip() for cell in line.split(",")]
    last = len(COLUMNS) - 3 if cells[-1] in {"Enabled", "Disabled"} or len(cells) == len(COLUMNS) else len(COLUMNS) - 4
    return [*cells[:2], ", ".join(cells[2:-last]), *cells[-last:]] if len(cells) >= last + 3 else []


def _slices(card: Gpu) -> tuple[Gpu, ...]:
    """Return the MIG slices of a card; CUDA takes one of them for a process, and the card's memory is not theirs."""
    found, parent = [], ""
    for listed in filter(None, map(_LISTED.match, _ask("--list-gpus").splitlines())):
        kind, title, uuid = listed.groups()
        if kind == "GPU":
            parent = uuid
        elif parent == card.uuid:
            found.append(_slice(card, f"MIG {title.split()[0]}", uuid))
    return tuple(found)


def _slice(parent: Gpu, title: str, uuid: str) -> Gpu:
    return Gpu(f"{parent.name} {title}", None, parent.capability, parent.driver, None, uuid)


@cache
def _say_once(text: str) -> None:
    say(text)


def toolkit() -> Path | None:
    """Return the folder of the CUDA toolkit, looked for as torch.utils.cpp_extension does; None where there is none.

    What CUDA_HOME or CUDA_PATH names is returned without a look at it.
    """
    if named := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return Path(named)
    if nvcc := shutil.which("nvcc"):
        return Path(nvcc).parent.parent
    return TOOLKIT if TOOLKIT.exists() else None


def free_space(folder: Path) -> tuple[int, Path]:
    """Return the bytes that are free where `folder` is or would be made, and the nearest folder that exists."""
    at = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(at).free, at


def main_memory() -> int:
    """Return the bytes of main memory that programs can still have, here or in this container; 0 where unknown."""
    free = 0
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    return min([free, *_limited()])


def _limited() -> Iterator[int]:
    """Yield what each control group that this process is in leaves of its memory.

    Pages of files that were not used lately are given back when memory is wanted, so they count as free.
    """
    for first, folder in _groups("memory"):
        names = ("memory.max", "memory.current", "inactive_file")
        if first:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        # ValueError: the limit is "max"; OSError: a container sees its own group as the top.
        with suppress(OSError, ValueError, KeyError):
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names[:2])
            pages = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            yield max(0, limit - used + int(dict(page.split(" ", 1) for page in pages)[names[2]]))


def cores() -> int:
    """Return how many of the processor's cores this process may use: those it may run on, or a container's quota."""
    found = len(os.sched_getaffinity(0))
    for first, folder in _groups("cpu"):
        with suppress(OSError, ValueError):  # as above; -1 is no limit, too
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if first else ("cpu.max",)
            quota, period = map(int, " ".join((folder / name).read_text(encoding="ascii") for name in names).split())
            found = min(found, math.ceil(quota / period)) if quota > 0 else found
    return found


def _groups(controller: str) -> Iterator[tuple[bool, Path]]:
    """Yield the folders of the control groups (a container, a Slurm job) that this process is in, inner ones first.

    With each comes whether it is of the first version of control groups.
    """
    with suppress(OSError):
        for line in GROUPS_OF_THIS.read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and controller not in controllers.split(","):
                continue
            top = CGROUPS if number == "0" else CGROUPS / controller
            inner = top / path.lstrip("/")
            for folder in (inner, *(each for each in inner.parents if each.is_relative_to(top))):
                yield number != "0", folder


@cache
def processor() -> tuple[str, bool]:
    """Return the processor's name, and whether it has instructions for bfloat16 (else each is many others)."""
    lines: dict[str, str] = {}
    with suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            lines.setdefault(key.strip(), value.strip())
    flags = lines.get("flags") or lines.get("Features") or ""
    return lines.get("model name") or os.uname().machine, bool(CPU_BFLOAT16.intersection(flags.split()))


def smi() -> str:
    """Return what nvidia-smi says of the GPUs: a line for each, else its complaint; "" where there is none."""
    said = _ask(f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits")
    if "not a valid field" not in said:
        return said
    # Older drivers know neither of these, and answer nothing for a query with one that they do not know.
    known = [column for column in COLUMNS if column not in {"compute_cap", "mig.mode.current"}]
    older = _ask(f"--query-gpu={','.join(known)}", "--format=csv,noheader,nounits")
    rows = [line.rsplit(",", 2) for line in older.splitlines() if line.count(",") >= len(known) - 1]
    return "\n".join(f"{first}, [N/A], {driver}, {free}" for first, driver, free in rows) or said


_answers: dict[tuple[str, ...], tuple[float, str]] = {}


def _ask(*arguments: str) -> str:
    """Return what nvidia-smi prints; on a server it takes seconds, so an answer counts for a while."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    key = (program, *arguments)
    if key not in _answers or time.monotonic() - _answers[key][0] > FRESH:
        said = _run(*key)
        _answers[key] = time.monotonic(), said
    return _answers[key][1]


def _run(*argv: str) -> str:
    try:
        done = children.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"nvidia-smi has not answered in {PATIENCE} s"
    silent = done.returncode and not done.stdout.strip()
    return f"nvidia-smi ended with exit status {done.returncode} and said nothing" if silent else done.stdout


def _mebibytes(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _number(cell: str) -> float | None:
    return float(cell) if re.fullmatch(r"\d+(\.\d+)?", cell) else None


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as a driver's, () where it is not told."""
    return tuple(map(int, re.findall(r"\d+", text)))


def unusable() -> str:
    """Return why the NVIDIA GPU that this machine seems to have is not used, "" where it seems to have none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in HIDDEN:
        return ""
    if cards := _cards():
        known = ", ".join(f"{card.index} ({card.gpu.name}, {card.gpu.uuid})" for card in cards)
        return f"CUDA_VISIBLE_DEVICES is `{visible}`, which names none of the GPUs here: {known}"
    said = " ".join(smi().split())[:300].rstrip(".")
    files = [str(file) for file in DRIVER_FILES if file.exists()]
    if said and (files or "No devices were found" not in said):
        return f"the NVIDIA driver does not work; nvidia-smi says: {said}"
    if files:
        return (
            f"{files[0]} is there, and nvidia-smi, which tells what the GPU is, is not on the path; install it, or "
            "start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        )
    return f"CUDA_VISIBLE_DEVICES is `{visible}`, and there is no NVIDIA GPU; unset it" if visible else ""


def computing(wanted: str) -> list[Gpu]:
    """Return the GPUs to compute on for `wanted` (auto, cuda or cpu), [] for the CPU.

    Raises SetupError where a GPU is asked for, or seems to be there, and cannot be used.
    """
    if wanted == "cpu":
        return []
    found = gpus()
    why = "" if found else unusable()
    if why:
        raise SetupError(f"{why}. `ftbridge doctor` shows more; `--device cpu` computes on the CPU all the same")
    if not found and wanted == "cuda":
        raise SetupError("`--device cuda` needs an NVIDIA GPU, and nvidia-smi shows none; see `ftbridge doctor`")
    return found


def choose(spec: TrainSpec) -> Machine:
    """Return what `spec` trains on; of equal cards the freest.

    Raises SetupError where it asks for more than is there, UsageError for what this kind of machine cannot do.
    """
    found = computing(spec.device)
    if not found:
        if spec.dtype == "float16":
            raise UsageError("`--dtype float16` needs a GPU; on the CPU leave it out, and float32 is used")
        if "paged" in spec.optimizer or "8bit" in spec.optimizer:
            raise UsageError(f"`--optimizer {spec.optimizer}` needs a GPU; on the CPU take adamw, adafactor or sgd")
        dtype = "float32" if spec.dtype == "auto" else spec.dtype
        return Machine("cpu", 1 if spec.gpus == "all" else spec.gpus, dtype)
    count = len(found) if spec.gpus == "all" else spec.gpus
    if count > len(found):
        raise SetupError(f"`--gpus {count}` asks for more than the {len(found)} visible here")
    chosen = _alike(found, count)
    if count > 1 and (slices := [gpu for gpu in chosen if gpu.is_slice]):
        whole = sum(not gpu.is_slice for gpu in found)
        raise UsageError(
            f"{slices[0].name} is a slice of a GPU (MIG), and slices cannot train together; take `--gpus {whole or 1}`"
        )
    old = [gpu for gpu in chosen if not gpu.bfloat16]
    if spec.dtype == "bfloat16" and (too_old := [gpu for gpu in old if gpu.capability is not None]):
        raise UsageError(
            f"`--dtype bfloat16` needs compute capability {BFLOAT16}, and {too_old[0].name} has "
            f"{too_old[0].capability}; take `--dtype float16`, or leave it out"
        )
    auto = "float16" if old else "bfloat16"
    return Machine("cuda", count, auto if spec.dtype == "auto" else spec.dtype, tuple(chosen))


def _alike(found: Sequence[Gpu], count: int) -> list[Gpu]:
    """Return `count` of the GPUs, if possible of one kind, the freest first.

    The kind is that of the first where the user names cards, else the newest and largest.
    """
    kinds: dict[tuple[str, int | None, float | None], list[Gpu]] = {}
    for gpu in found:
        kinds.setdefault((gpu.name, gpu.memory, gpu.capability), []).append(gpu)
    groups = [freest(group) for group in kinds.values()]
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        groups.sort(key=lambda group: (group[0].capability or 0, group[0].memory or 0), reverse=True)
    enough = next((group for group in groups if len(group) >= count), None)
    return (enough or [gpu for group in groups for gpu in group])[:count]


def freest(cards: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs, the one with the most free memory first; those that do not tell come last."""
    return sorted(cards, key=lambda gpu: -1 if gpu.free is None else gpu.free, reverse=True)


def environment(cards: Sequence[Gpu]) -> dict[str, str]:
    """Return what a child process needs to compute on just these GPUs, on the CPU for none.

    On a GPU its memory grows in place, and NCCL frees what it sent, as LLaMA-Factory's own launcher has it. On the CPU
    its threads sleep while they wait for each other: where others compute as well, those that spin take ten times as
    long. What the user has set stays.
    """
    if cards:
        shown = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in cards)}
        own = any(name in os.environ for name in ALLOCATOR)
        given = {} if own else dict.fromkeys(ALLOCATOR, "expandable_segments:True")
    else:
        shown = {"CUDA_VISIBLE_DEVICES": ""}
        given = {"OMP_NUM_THREADS": str(cores()), "OMP_WAIT_POLICY": "PASSIVE"}
    if len(cards) > 1:
        given["TORCH_NCCL_AVOID_RECORD_STREAMS"] = "1"
    if cards and no_peers():
        given |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    return shown | {key: value for key, value in given.items() if key not in os.environ}


def no_peers() -> str:
    """Return the driver of a machine whose several RTX 40xx cannot reach each other with it, else "".

    accelerate refuses to start there, even on one of them, unless NCCL is told not to try.
    """
    cards = [card.gpu for card in _cards()]
    poor = [gpu for gpu in cards if NO_PEERS in gpu.name and () < version(gpu.driver) < PEERS_DRIVER]
    return poor[0].driver if len(cards) > 1 and poor else ""
