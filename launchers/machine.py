"""What this machine has to compute with; asks nvidia-smi, never torch."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.spec import TrainSpec

# A driver that hangs never answers; a card that sleeps takes some seconds.
PATIENCE = 20  # seconds
GIB = 1024**3
NO_GPU = "`--device cuda` needs an NVIDIA GPU, and nvidia-smi shows none; see `ftbridge doctor`"
BFLOAT16 = 8.0  # compute capability of Ampere, from which on there is bfloat16 and FlashAttention 2
TOOLKIT = Path("/usr/local/cuda")


class Gpu(msgspec.Struct, frozen=True):
    """One visible GPU: its name, memory in MiB, compute capability (8.0: bfloat16), driver, and free memory in MiB.

    Memory is 0 where nvidia-smi does not tell, as on cards that share the machine's.
    """

    name: str
    memory: int
    capability: float
    driver: str
    free: int = 0


class Machine(msgspec.Struct, frozen=True):
    """What a run computes on: `device` is "cuda" or "cpu", `processes` how many, `dtype` bfloat16 or float16.

    `gpus` are those that it computes on, as they were when it was decided.
    """

    device: str
    processes: int
    dtype: str
    gpus: tuple[Gpu, ...] = ()


def gpus() -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible; none without a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in smi().splitlines() if line.count(",") == 6]  # noqa: PLR2004
    if visible is not None:
        wanted = [item.strip() for item in visible.split(",")]
        rows = [row for item in wanted for row in rows if item and (item == row[0] or row[1].startswith(item))]
    return [Gpu(row[2], _mebibytes(row[3]), float(row[4]), row[5], _mebibytes(row[6])) for row in rows]


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
    """Return the bytes of main memory that programs can still have; 0 where Linux does not tell."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def smi() -> str:
    """Return what nvidia-smi says of the GPUs: a line for each, else its complaint; "" where there is none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    query = "--query-gpu=index,uuid,name,memory.total,compute_cap,driver_version,memory.free"
    try:
        return subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        ).stdout
    except subprocess.TimeoutExpired:
        return f"nvidia-smi has not answered in {PATIENCE} s"
    except OSError as error:
        return f"nvidia-smi cannot be started: {error}"


def _mebibytes(cell: str) -> int:
    return int(cell) if cell.isdecimal() else 0


def device(wanted: str) -> str:
    """Return cuda or cpu for `wanted`, which may be auto; raises SetupError for a GPU that is not there."""
    if wanted == "auto":
        return "cuda" if gpus() else "cpu"
    if wanted == "cuda" and not gpus():
        raise SetupError(NO_GPU)
    return wanted


def choose(spec: TrainSpec) -> Machine:
    """Return what `spec` trains on.

    Raises SetupError where it asks for more than is there, UsageError for what this kind of machine cannot do.
    """
    found = gpus() if spec.device != "cpu" else []
    if spec.device == "cuda" and not found:
        raise SetupError(NO_GPU)
    if not found:
        if spec.dtype == "float16":
            raise UsageError("`--dtype float16` needs a GPU; on the CPU leave it out, and bfloat16 is used")
        if "paged" in spec.optimizer or "8bit" in spec.optimizer:
            raise UsageError(f"`--optimizer {spec.optimizer}` needs a GPU; on the CPU take adamw, adafactor or sgd")
        return Machine("cpu", 1 if spec.gpus == "all" else spec.gpus, "bfloat16")
    count = len(found) if spec.gpus == "all" else spec.gpus
    if count > len(found):
        raise SetupError(f"`--gpus {count}` asks for more than the {len(found)} visible here")
    old = [gpu for gpu in found[:count] if gpu.capability < BFLOAT16]
    if old and spec.dtype == "bfloat16":
        raise UsageError(
            f"`--dtype bfloat16` needs compute capability {BFLOAT16}, and {old[0].name} has {old[0].capability}; take "
            "`--dtype float16`, or leave it out"
        )
    auto = "float16" if old else "bfloat16"
    return Machine("cuda", count, auto if spec.dtype == "auto" else spec.dtype, tuple(found[:count]))
