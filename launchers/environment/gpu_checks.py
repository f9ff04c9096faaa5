"""Whether the torch of an interpreter can use this machine's GPUs, by its files, without importing it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ftbridge.core.errors import SetupError
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.environment.venv import LOCK_NAMES, default_folder, setup_command
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.hardware.nvidia import BFLOAT16_CAPABILITY, Gpu, driver_without_peers, version_numbers
from ftbridge.launchers.process.script import run_script

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, never written
LEAST_SHARED_MEMORY = 1  # GiB
# By the major version of CUDA: any driver from this one on runs all its minor versions.
DRIVER_SOURCE = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
LEAST_DRIVER = {"11": 450, "12": 525, "13": 580}


class TorchBuild(msgspec.Struct, frozen=True):
    """The torch of an interpreter: its version, its CUDA ("" for none), and the GPUs that it has code for.

    `targets` are as nvcc calls them: sm_80 is compute capability 8.0.
    """

    executable: str
    python: str
    version: str
    cuda: str
    targets: tuple[str, ...]
    flash_attention: bool = False


# The lock's torch, against which GPUs are checked before `ftbridge setup`; a test compares it with a real one.
LOCKED_BUILD = TorchBuild(
    executable=_("the tested set"),
    python="3.11",
    version="2.10.0+cu128",
    cuda="12.8",
    targets=("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
)


def read_torch_build(python: Path) -> TorchBuild:
    """Return the version, CUDA and targets of an interpreter's torch, read from its files in 0.1 s.

    Raises SetupError where it has no torch, OSError where it cannot be started.
    """
    line = run_script(python, "inspect_torch", {}, stderr=subprocess.PIPE)
    return msgspec.json.decode(line, type=TorchBuild)


def interpreter_checks(python: Path, gpus: Sequence[Gpu]) -> list[Check]:
    """Return the checks of an interpreter's torch against these GPUs; in 0.1 s, as nothing is imported."""
    try:
        build = read_torch_build(python)
    except (SetupError, OSError) as error:
        return [no_torch_check(python, error)]
    return torch_gpu_checks(build, gpus)


def torch_gpu_checks(build: TorchBuild, gpus: Sequence[Gpu]) -> list[Check]:
    """Return a check of the torch, one of each GPU, and a warning where GPUs cannot reach each other's memory."""
    checks = [_torch_check(build, gpus), *(_gpu_check(gpu, build) for gpu in gpus)]
    driver = driver_without_peers() if gpus else ""
    if driver:
        found = _("several RTX 40xx cannot reach each other's memory with driver {driver}").format(driver=driver)
        checks.append(
            Check("GPUs", "warning", found, _("trainings avoid it with NCCL_P2P_DISABLE=1; driver 550.40.07 fixes it"))
        )
    return checks


def shared_memory_checks() -> list[Check]:
    """Return a check of /dev/shm, which data loader workers and NCCL use; containers give 64 MiB by default."""
    if not SHARED_MEMORY.is_dir():
        return []
    size = shutil.disk_usage(SHARED_MEMORY).total
    small = size < LEAST_SHARED_MEMORY * GIB
    remedy = (
        _("data loader workers and several GPUs may fail; start the container with `--shm-size=8g`") if small else ""
    )
    found = _("{size:.2f} GiB in {shared_memory}").format(size=size / GIB, shared_memory=SHARED_MEMORY)
    return [Check("shared memory", "warning" if small else "ok", found, remedy)]


def environment_remedy(python: Path) -> str:
    """Return the remedy for an environment that lacks packages: the command that repairs it, where setup made it."""
    ours = next((environment for environment in LOCK_NAMES if default_folder(environment) in python.parents), None)
    return (
        setup_command(ours)
        if ours
        else _("install the tested versions into {parent}").format(parent=python.parent.parent)
    )


def no_torch_check(python: Path, error: Exception) -> Check:
    """Return a failure for an interpreter whose torch cannot be read."""
    return Check(
        "torch",
        "failure",
        _("the torch of `{python}` cannot be read: {error}").format(python=python, error=error),
        environment_remedy(python),
    )


def _torch_check(build: TorchBuild, gpus: Sequence[Gpu]) -> Check:
    found = _("{version} for {cuda}, {executable}").format(
        version=build.version,
        cuda=_("CUDA {cuda}").format(cuda=build.cuda) if build.cuda else _("the CPU"),
        executable=build.executable,
    )
    if build.cuda or not gpus:
        return Check("torch", "ok", found)
    return Check(
        "torch",
        "failure",
        _("{found}, which cannot use the GPU").format(found=found),
        _("install torch {version}").format(version=LOCKED_BUILD.version),
    )


def _gpu_check(gpu: Gpu, build: TorchBuild) -> Check:
    free = _("free memory unknown") if gpu.free is None else _("{free} MiB of them free").format(free=gpu.free)
    memory = (
        _("memory unknown") if gpu.memory is None else _("{memory} MiB, {free}").format(memory=gpu.memory, free=free)
    )
    capability = (
        _("compute capability unknown")
        if gpu.capability is None
        else _("compute capability {capability}").format(capability=gpu.capability)
    )
    found = _("{name}, {memory}, {capability}, driver {driver}").format(
        name=gpu.name, memory=memory, capability=capability, driver=gpu.driver
    )
    torch = _("torch {version}").format(version=build.version)
    if build.targets and gpu.capability is not None and not _has_code_for(gpu.capability, build.targets):
        targets = joined(", ", build.targets)
        return Check(
            "GPU",
            "failure",
            found,
            _("{torch} has no code for this card, only for {targets}; use another").format(
                torch=torch, targets=targets
            ),
        )
    least = LEAST_DRIVER.get(build.cuda.partition(".")[0])
    if least and () < version_numbers(gpu.driver) < (least,):
        needs = _("{torch} for CUDA {cuda} needs driver {least} or newer").format(
            torch=torch, cuda=build.cuda, least=least
        )
        return Check(
            "GPU", "failure", found, _("{needs}; update it, or use a torch built for an older CUDA").format(needs=needs)
        )
    if build.cuda and not least:
        unknown = _("the minimum driver of CUDA {cuda} is not known here; see {driver_source}").format(
            cuda=build.cuda, driver_source=DRIVER_SOURCE
        )
        return Check("GPU", "warning", found, unknown)
    if not gpu.bfloat16:
        text = _("training uses float16 here: bfloat16 needs compute capability {bfloat16_capability}").format(
            bfloat16_capability=BFLOAT16_CAPABILITY
        )
        return Check("GPU", "warning", found, text)
    return Check("GPU", "ok", found)


def _has_code_for(capability: float, targets: tuple[str, ...]) -> bool:
    """Tell whether a GPU of this compute capability runs one of the targets.

    sm_80 runs on 8.0 and later GPUs of generation 8; compute_80 is compiled by the driver for all from 8.0 on.
    """
    of_gpu = round(capability * 10)
    for target in targets:
        kind, _unused, text = target.partition("_")
        number = int(text.rstrip("abcdefghijklmnopqrstuvwxyz"))
        if number <= of_gpu and (kind == "compute" or number // 10 == of_gpu // 10):
            return True
    return False
