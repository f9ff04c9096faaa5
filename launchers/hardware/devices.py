"""What a command computes on: which GPUs, or the CPU, in which dtype."""

import os
from collections.abc import Sequence

import msgspec

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware.host import cores
from ftbridge.launchers.hardware.nvidia import (
    BFLOAT16_CAPABILITY,
    Gpu,
    driver_without_peers,
    freest_first,
    gpus,
    why_unusable,
)

# The variable that holds the options of torch's allocator, before 2.9 and since.
ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


class Devices(msgspec.Struct, frozen=True):
    """What a run computes on: `device` is "cuda" or "cpu", `processes` how many, `dtype` as torch calls it.

    `gpus` are those that it computes on, as they were when it was decided.
    """

    device: str
    processes: int
    dtype: str
    gpus: tuple[Gpu, ...] = ()


def usable_gpus(wanted: str) -> list[Gpu]:
    """Return the GPUs that a command may compute on for `wanted` (auto, cuda or cpu), [] for the CPU.

    Raises SetupError where a GPU is asked for, or seems to be there, and cannot be used.
    """
    if wanted == "cpu":
        return []
    found = gpus()
    why = "" if found else why_unusable()
    if why:
        raise SetupError(
            _("{why}. `ftbridge doctor` shows more; `--device cpu` computes on the CPU anyway").format(why=why)
        )
    if not found and wanted == "cuda":
        raise SetupError(_("`--device cuda` needs an NVIDIA GPU, and nvidia-smi shows none; see `ftbridge doctor`"))
    return found


def choose_devices(spec: TrainSpec) -> Devices:
    """Return the devices and the dtype that `spec` trains with; of equal GPUs the freest.

    Raises SetupError where it asks for more than is there, UsageError for what this kind of machine cannot do.
    """
    visible = usable_gpus(spec.device)
    if not visible:
        if spec.gpus != 1 and spec.device != "cpu":
            raise SetupError(
                _(
                    "`--gpus {gpus}` needs NVIDIA GPUs, and none is visible; see `ftbridge doctor`. "
                    "`--device cpu` computes on the CPU"
                ).format(gpus=spec.gpus)
            )
        return _cpu_devices(spec)
    count = len(visible) if spec.gpus == "all" else spec.gpus
    if count > len(visible):
        raise SetupError(
            _("`--gpus {count}` asks for more than the {visible_count} visible here").format(
                count=count, visible_count=len(visible)
            )
        )
    chosen = _gpus_of_one_kind(visible, count)
    if count > 1:
        _refuse_slices(chosen, visible)
    return Devices("cuda", count, _gpu_dtype(spec, chosen), tuple(chosen))


def _cpu_devices(spec: TrainSpec) -> Devices:
    if spec.dtype == "float16":
        raise UsageError(_("`--dtype float16` needs a GPU; on the CPU leave it out, and float32 is used"))
    if "paged" in spec.optimizer or "8bit" in spec.optimizer:
        raise UsageError(
            _("`--optimizer {optimizer}` needs a GPU; on the CPU take adamw, adafactor or sgd").format(
                optimizer=spec.optimizer
            )
        )
    dtype = "float32" if spec.dtype == "auto" else spec.dtype
    return Devices("cpu", 1 if spec.gpus == "all" else spec.gpus, dtype)


def _refuse_slices(chosen: Sequence[Gpu], visible: Sequence[Gpu]) -> None:
    """Raise UsageError where one of the GPUs that are to train together is a MIG slice."""
    slices = [gpu for gpu in chosen if gpu.is_slice]
    if slices:
        whole = sum(not gpu.is_slice for gpu in visible)
        raise UsageError(
            _("{name} is a slice of a GPU (MIG), and slices cannot train together; take `--gpus {whole}`").format(
                name=slices[0].name, whole=whole or 1
            )
        )


def _gpu_dtype(spec: TrainSpec, chosen: Sequence[Gpu]) -> str:
    """Return the dtype that `spec` trains in on these GPUs; raises UsageError for bfloat16 on one that lacks it."""
    lacking = [gpu for gpu in chosen if not gpu.bfloat16]
    if spec.dtype == "auto":
        return "float16" if lacking else "bfloat16"
    too_old = [gpu for gpu in lacking if gpu.capability is not None]
    if spec.dtype == "bfloat16" and too_old:
        raise UsageError(
            _(
                "`--dtype bfloat16` needs compute capability {bfloat16_capability}, and {name} has "
                "{capability}; take `--dtype float16`, or leave it out"
            ).format(bfloat16_capability=BFLOAT16_CAPABILITY, name=too_old[0].name, capability=too_old[0].capability)
        )
    return spec.dtype


def _gpus_of_one_kind(visible: Sequence[Gpu], count: int) -> list[Gpu]:
    """Return `count` of the visible GPUs, if possible of one kind, the freest first.

    The kind is that of the first where CUDA_VISIBLE_DEVICES names GPUs, else the newest and largest.
    """
    kinds: dict[tuple[str, int | None, float | None], list[Gpu]] = {}
    for gpu in visible:
        kinds.setdefault((gpu.name, gpu.memory, gpu.capability), []).append(gpu)
    groups = [freest_first(group) for group in kinds.values()]
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        groups.sort(key=lambda group: (group[0].capability or 0, group[0].memory or 0), reverse=True)
    enough = next((group for group in groups if len(group) >= count), None)
    return (enough or [gpu for group in groups for gpu in group])[:count]


def device_variables(chosen: Sequence[Gpu]) -> dict[str, str]:
    """Return the environment variables with which a child computes on just these GPUs, on the CPU for none.

    On a GPU its memory grows in place, and NCCL frees what it sent, as LLaMA-Factory's own launcher has it. On the CPU
    its threads sleep while they wait for each other: where others compute as well, those that spin take ten times as
    long. What the user has set stays.
    """
    if chosen:
        shown = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in chosen)}
        is_set = any(name in os.environ for name in ALLOCATOR_VARIABLES)
        given = {} if is_set else dict.fromkeys(ALLOCATOR_VARIABLES, "expandable_segments:True")
    else:
        shown = {"CUDA_VISIBLE_DEVICES": ""}
        given = {"OMP_NUM_THREADS": str(cores()), "OMP_WAIT_POLICY": "PASSIVE"}
    if len(chosen) > 1:
        given["TORCH_NCCL_AVOID_RECORD_STREAMS"] = "1"
    if chosen and driver_without_peers():
        given |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    return shown | {key: value for key, value in given.items() if key not in os.environ}
