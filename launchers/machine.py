"""What this machine has to compute with; asks nvidia-smi, never torch."""

import os
import shutil
import subprocess

import msgspec

from ftbridge.core.errors import SetupError
from ftbridge.core.spec import TrainSpec


class Gpu(msgspec.Struct, frozen=True):
    """One visible GPU: its name, memory in MiB, compute capability (8.0: bfloat16), driver, and free memory in MiB."""

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
    program = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not program or visible == "":
        return []
    query = "--query-gpu=index,uuid,name,memory.total,compute_cap,driver_version,memory.free"
    done = subprocess.run(
        [program, query, "--format=csv,noheader,nounits"], check=False, capture_output=True, text=True
    )
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.count(",") == 6]  # noqa: PLR2004
    if visible is not None:
        wanted = [item.strip() for item in visible.split(",")]
        rows = [row for item in wanted for row in rows if item and (item == row[0] or row[1].startswith(item))]
    return [Gpu(row[2], int(row[3]), float(row[4]), row[5], int(row[6])) for row in rows]


def choose(spec: TrainSpec) -> Machine:
    """Return what `spec` trains on; raises SetupError where it asks for more than is there."""
    found = gpus() if spec.device != "cpu" else []
    if spec.device == "cuda" and not found:
        raise SetupError("`--device cuda` needs an NVIDIA GPU, and nvidia-smi shows none; see `ftbridge doctor`")
    if not found:
        return Machine("cpu", 1 if spec.gpus == "all" else spec.gpus, "bfloat16")
    count = len(found) if spec.gpus == "all" else spec.gpus
    if count > len(found):
        raise SetupError(f"`--gpus {count}` asks for more than the {len(found)} visible here")
    # bfloat16 needs compute capability 8.0 (Ampere).
    dtype = "bfloat16" if all(gpu.capability >= 8 for gpu in found[:count]) else "float16"  # noqa: PLR2004
    return Machine("cuda", count, dtype, tuple(found[:count]))
