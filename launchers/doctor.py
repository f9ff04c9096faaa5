"""`ftbridge doctor`: what this machine has, against what a training needs."""

import os
import shutil
import sys
from pathlib import Path

from ftbridge.core.errors import SetupError
from ftbridge.core.plugins import backend as load_backend
from ftbridge.core.plugins import names
from ftbridge.core.project import Project
from ftbridge.launchers import machine
from ftbridge.launchers.checks import Check
from ftbridge.launchers.environment import default_folder, inspect, interpreter

GIB = 1024**3
# PyPI's torch 2.8.0 is built for CUDA 12.8: driver 570, compute capability 7.0 and up.
LEAST_DRIVER, LEAST_CAPABILITY = 570, 7.0
SPACE_TO_INSTALL, SPACE_TO_TRAIN = 12, 5  # GiB


def doctor() -> list[Check]:
    """Return all checks, the quick ones first; importing the frameworks takes half a minute."""
    return [_python(), *_gpus(), *_backends(Project.find()), *_disk()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info < (3, 13):
        return Check("Python", "ok", version)
    return Check("Python", "failure", version, "both frameworks run on 3.11 and 3.12; use one of them")


def _gpus() -> list[Check]:
    found = machine.gpus()
    if not found:
        return [Check("GPU", "warning", "none; training runs on the CPU, fit for trials only", _no_gpu())]
    checks = []
    for gpu in found:
        text = f"{gpu.name}, {gpu.memory} MiB, compute capability {gpu.capability}, driver {gpu.driver}"
        remedy = ""
        if gpu.capability < LEAST_CAPABILITY:
            remedy = f"the frameworks' torch needs compute capability {LEAST_CAPABILITY}; use a newer card"
        elif int(gpu.driver.partition(".")[0]) < LEAST_DRIVER:
            remedy = f"the frameworks' torch needs driver {LEAST_DRIVER} or newer; update it"
        checks.append(Check("GPU", "failure" if remedy else "ok", text, remedy))
    return checks


def _no_gpu() -> str:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "CUDA_VISIBLE_DEVICES is empty and hides every GPU; unset it"
    return "with an NVIDIA card in this machine, install its driver: nvidia-smi must show it"


def _backends(project: Project) -> list[Check]:
    """Look into each interpreter once, whichever backends use it."""
    by_python: dict[Path, list[str]] = {}
    checks = []
    for name in names("backends"):
        try:
            by_python.setdefault(interpreter(project, name), []).append(name)
        except SetupError as error:
            checks.append(Check(name, "failure", str(error), "ftbridge setup"))
    for python, backends in by_python.items():
        checks += _environment(python, {load_backend(name).module: name for name in backends})
    return checks


def _environment(python: Path, modules: dict[str, str]) -> list[Check]:
    own = default_folder() in python.parents
    repair = "ftbridge setup" if own else f"install the tested versions into {python.parent.parent}"
    try:
        seen = inspect(python, list(modules))
    except SetupError as error:
        return [Check("environment", "failure", str(error), repair)]
    checks = []
    wrong = [f"{name} {why}" for name, why in seen.wrong().items()]
    if wrong:
        text = f"{len(wrong)} packages differ from the tested set: {', '.join(wrong[:5])}"
        checks.append(Check("versions", "failure" if own else "warning", text, repair))
    else:
        checks.append(Check("versions", "ok", f"the tested set, Python {seen.python}, {python}"))
    for module, name in modules.items():
        why = seen.imports[module]
        found = f"cannot be imported: {why}" if why else seen.packages[module].version
        checks.append(Check(name, "failure" if why else "ok", found, repair if why else ""))
    return checks


def _disk() -> list[Check]:
    checks = []
    installed = default_folder().exists()
    for name, folder, least in (
        ("disk for runs", Project.find().folder, SPACE_TO_TRAIN),
        ("disk for the environment", default_folder(), 0 if installed else SPACE_TO_INSTALL),
    ):
        at = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(at).free / GIB
        short = free < least
        remedy = f"at least {least} GiB are wanted in {at}" if short else ""
        checks.append(Check(name, "warning" if short else "ok", f"{free:.0f} GiB free in {at}", remedy))
    return checks
