"""`ftbridge doctor`: checks of this machine and of the training environments, against what a training needs."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from itertools import product
from pathlib import Path
from socket import gaierror
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ftbridge.core.console import counted, say
from ftbridge.core.errors import SetupError
from ftbridge.core.files.owner import is_writable
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.process import children
from ftbridge.core.project import Project
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.environment.gpu_checks import (
    LOCKED_BUILD,
    TorchBuild,
    environment_remedy,
    no_torch_check,
    read_torch_build,
    shared_memory_checks,
    torch_gpu_checks,
)
from ftbridge.launchers.environment.setup import ENVIRONMENT_SIZE
from ftbridge.launchers.environment.venv import (
    LOCK_NAMES,
    NEWEST,
    Environment,
    Inspection,
    backends_of,
    default_folder,
    environment_of,
    imported_modules,
    inspect_environment,
    interpreter,
    setup_command,
)
from ftbridge.launchers.hardware import host, nvidia
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.process import caches

LEAST_RUN_SPACE = 5  # GiB
HUB_TIMEOUT = 3  # seconds

NO_GPU = _("none found")  # as the GPU check begins where there is none
NEEDS_TOOLKIT = _("a DeepSpeed file of yours that has DeepSpeed compile its CPU Adam (the shipped ones do not)")


def doctor() -> list[Check]:
    """Return all checks, in up to half a minute, which importing the frameworks takes.

    Raises InputError for a ftbridge.yaml that cannot be read.
    """
    return list(run_checks())


def run_checks() -> Iterator[Check]:
    """Yield the checks as they are done, the quick ones first."""
    project = Project.find()
    yield _python_check("Python", ".".join(map(str, sys.version_info[:3])), sys.executable)
    backends, missing = _backends_by_interpreter(project)
    yield from missing
    builds: dict[Path, TorchBuild] = {}
    for python in backends:
        try:
            builds[python] = read_torch_build(python)
        except (SetupError, OSError) as error:
            yield no_torch_check(python, error)
    yield _processor_check()
    gpus = nvidia.gpus()
    of_builds = [check for build in list(builds.values()) or [LOCKED_BUILD] for check in _build_checks(build, gpus)]
    yield from dict.fromkeys(of_builds)  # two interpreters may have the same torch
    yield from shared_memory_checks()
    yield from _disk_checks(project)
    yield from _cache_checks()
    yield from _hub_checks()
    if builds:
        say(_("importing the frameworks, which takes up to half a minute ..."))
    for python, build in builds.items():
        yield from _environment_checks(python, backends[python], build)


def verdict(checks: Sequence[Check]) -> str:
    """Return in a line what the checks come to: on what this machine trains, or how many failures to fix."""
    count = Counter(check.status for check in checks)
    if failures := count["failure"]:
        return _("not ready: fix the {failures} above").format(failures=counted(failures, "failure"))
    on_gpu = any(check.name == "GPU" and not check.found.startswith(NO_GPU) for check in checks)
    where = _("the GPU") if on_gpu else _("the CPU")
    if warnings := count["warning"]:
        return _("ready: train on {where}; {warnings}").format(where=where, warnings=counted(warnings, "warning"))
    return _("ready: train on {where}").format(where=where)


def toolkit_check(cuda: str) -> Check:
    """Return a check of the CUDA toolkit that torch's extensions would find, against torch's `cuda` ("12.8")."""
    home = host.cuda_toolkit()
    remedy = _("install CUDA toolkit {cuda}, or set CUDA_HOME to one; needed by {needs_toolkit}").format(
        cuda=cuda, needs_toolkit=NEEDS_TOOLKIT
    )
    if not home:
        return Check(
            "CUDA toolkit", "ok", _("none found; only needed by {needs_toolkit}").format(needs_toolkit=NEEDS_TOOLKIT)
        )
    program = home / "bin" / "nvcc"
    if not program.is_file():
        return Check(
            "CUDA toolkit",
            "warning",
            _("CUDA_HOME or CUDA_PATH is `{home}`, without bin/nvcc").format(home=home),
            remedy,
        )
    try:
        argv = [str(program), "--version"]
        output = children.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20).stdout
    except subprocess.TimeoutExpired as error:
        output = str(error)
    release = re.search(r"release (\d+)\.(\d+)", output)
    if not release:
        found = _("the version of `{program}` is unknown: {output}").format(
            program=program, output=output.strip()[:200]
        )
        return Check("CUDA toolkit", "warning", found, remedy)
    found = _("{release}.{minor} in {home}").format(release=release[1], minor=release[2], home=home)
    if cuda and release[1] != cuda.partition(".")[0]:
        return Check(
            "CUDA toolkit",
            "warning",
            _("{found}, while torch is built for CUDA {cuda}").format(found=found, cuda=cuda),
            remedy,
        )
    return Check("CUDA toolkit", "ok", found)


def _backends_by_interpreter(project: Project) -> tuple[dict[Path, list[str]], list[Check]]:
    """Return the backends that each interpreter serves, and a failure for each backend that has none."""
    backends: dict[Path, list[str]] = {}
    missing = []
    for name, environment in product(plugin_names("backends"), _environments(project)):
        try:
            python = interpreter(project, name, environment)
        except SetupError as error:
            known = name in backends_of(environment)
            remedy = setup_command(environment) if known else _("or uninstall the package that brings it")
            missing.append(Check(name, "failure", str(error), remedy))
            continue
        served = backends.setdefault(python, [])
        if name not in served:
            served.append(name)
    return backends, missing


def _environments(project: Project) -> list[Environment]:
    """Return the newest environment, and the second where it is there or ftbridge.yaml names one."""
    named = any(chosen.python_transformers4 for chosen in project.settings.backends.values())
    return [NEWEST, "transformers4"] if named or default_folder("transformers4").exists() else [NEWEST]


def _python_check(name: str, version: str, executable: str) -> Check:
    found = joined(_(", "), (version, executable))
    if version.startswith(("3.11.", "3.12.")):
        return Check(name, "ok", found)
    return Check(name, "failure", found, _("both frameworks run on 3.11 and 3.12; use one of them"))


def _build_checks(build: TorchBuild, gpus: list[nvidia.Gpu]) -> Iterator[Check]:
    if build is not LOCKED_BUILD:
        yield _python_check(_("the backends' Python"), build.python, build.executable)
    yield from torch_gpu_checks(build, gpus)
    yield toolkit_check(build.cuda) if gpus else _no_gpu_check()


def _no_gpu_check() -> Check:
    """Return a failure where there is a GPU that cannot be used, else a warning that trainings run on the CPU."""
    if why := nvidia.why_unusable():
        return Check("GPU", "failure", why, _("fix that, or train on the CPU with `--device cpu`"))
    none = _("{no_gpu}; training runs on the CPU, fit for trials only").format(no_gpu=NO_GPU)
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return Check(
            "GPU",
            "warning",
            none,
            _("CUDA_VISIBLE_DEVICES is `{visible}`, which hides every GPU; unset it").format(visible=visible),
        )
    remedy = _("if this machine has an NVIDIA GPU, install its driver (nvidia-smi must list the GPU)")
    return Check("GPU", "warning", none, remedy)


def _processor_check() -> Check:
    name, has_bfloat16 = host.processor()
    words = _("has instructions for bfloat16") if has_bfloat16 else _("no instructions for bfloat16")
    return Check(
        "processor",
        "ok",
        _("{name}, {words}; training on it uses float32 unless `--dtype` says otherwise").format(
            name=name, words=words
        ),
    )


def _environment_checks(python: Path, backends: list[str], build: TorchBuild) -> list[Check]:
    """Return checks of the packages of `python`: their versions, and whether what trainings import can be imported."""
    imported = imported_modules(backends)
    if build.flash_attention:
        imported.append("flash_attn")
    try:
        inspection = inspect_environment(python, imported)
    except SetupError as error:
        return [Check("environment", "failure", str(error), environment_remedy(python))]
    names = {load_backend(name).module: name for name in backends}
    return [
        _versions_check(python, inspection),
        *(_import_check(python, inspection, module, names.get(module)) for module in imported_modules(backends)),
        _flash_attention_check(inspection.imports.get("flash_attn")),
    ]


def _versions_check(python: Path, inspection: Inspection) -> Check:
    environment = environment_of({name: package.version for name, package in inspection.packages.items()})
    differing = [joined(" ", (name, why)) for name, why in inspection.differences(environment).items()]
    if not differing:
        return Check(
            "versions",
            "ok",
            _("the tested set {environment}, Python {python}, {own}").format(
                environment=environment, python=inspection.python, own=python
            ),
        )
    made_by_setup = any(default_folder(environment) in python.parents for environment in LOCK_NAMES)
    count = counted(len(differing), "package differs", "packages differ")
    found = _("{count} from the tested set: {differing}").format(count=count, differing=joined(", ", differing[:5]))
    return Check("versions", "failure" if made_by_setup else "warning", found, environment_remedy(python))


def _import_check(python: Path, inspection: Inspection, module: str, backend: str | None) -> Check:
    """Return whether a module can be imported; `backend` is the name of the one whose module it is."""
    package = inspection.packages.get(module.replace("_", "-"))
    name = backend or module
    error = inspection.imports[module]
    if not error:
        return Check(name, "ok", package.version if package else _("can be imported"))
    if backend or module in inspection.packages:
        return Check(name, "failure", _("cannot be imported: {error}").format(error=error), environment_remedy(python))
    return Check(name, "warning", _("not installed; QLoRA or DeepSpeed needs it"), environment_remedy(python))


def _flash_attention_check(error: str | None) -> Check:
    if error is None:
        return Check("flash-attn", "ok", _("not installed; attention is torch's own (SDPA)"))
    if error:
        remedy = _("install a flash-attn built for this torch and CUDA, or uninstall it")
        return Check(
            "flash-attn", "warning", _("installed, but cannot be imported: {error}").format(error=error), remedy
        )
    return Check("flash-attn", "ok", "installed")


def _disk_checks(project: Project) -> list[Check]:
    checks = []
    installed = default_folder().exists()
    for name, folder, least in (
        (_("disk for runs"), project.folder, LEAST_RUN_SPACE),
        (_("disk for the environment"), default_folder(), 0 if installed else ENVIRONMENT_SIZE),
    ):
        free, at = host.free_space(folder)
        short = free < least * GIB
        remedy = _("at least {least} GiB are wanted in {at}").format(least=least, at=at) if short else ""
        checks.append(
            Check(
                name,
                "warning" if short else "ok",
                _("{free:.0f} GiB free in {at}").format(free=free / GIB, at=at),
                remedy,
            )
        )
    return checks


def _cache_checks() -> Iterator[Check]:
    """Yield where models are kept, with a warning where the home folder has no place for what is written."""
    places = caches.places()
    moved = {name: path for name, path in caches.environment_variables().items() if name in places}
    for name in (name for name in places if name in os.environ and not is_writable(places[name])):
        found = _("{name} is `{folder}`, which cannot be written").format(name=name, folder=places[name])
        yield Check("caches", "warning", found, _("set it to a folder that you may write, or unset it"))
    if not moved:
        yield Check(
            "caches",
            "ok",
            _("models of Hugging Face in {hf}, of ModelScope in {ms}").format(
                hf=places["HF_HUB_CACHE"], ms=places["MODELSCOPE_CACHE"]
            ),
        )
        return
    yield Check(
        "caches",
        "warning",
        _("cannot be written where they are by default, e.g. `{place}`; {names} are in {folder}").format(
            place=places[min(moved)], names=joined(", ", moved), folder=Path(min(moved.values())).parent
        ),
        _("set HOME, or XDG_CACHE_HOME and XDG_DATA_HOME, to a folder that you may write and that is kept"),
    )


def _hub_checks() -> list[Check]:
    """Return whether each hub answers, at the address that its client's variables name.

    Both are asked at the same time; nothing but the request is sent.
    """
    modelscope = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
    folder = _("or give a local folder")
    hubs = (
        (
            _("Hugging Face"),
            os.environ.get("HF_ENDPOINT") or "https://huggingface.co",
            _("set HF_ENDPOINT to a mirror, take ModelScope (`--model ms://owner/name`), {folder}").format(
                folder=folder
            ),
        ),
        (
            "ModelScope",
            modelscope if "://" in modelscope else f"https://{modelscope}",
            _("set MODELSCOPE_ENDPOINT to another address, take Hugging Face (`hf://owner/name`), {folder}").format(
                folder=folder
            ),
        ),
    )
    answers: dict[str, str] = {}
    # Threads that need not end: looking up a name may take longer than any time-out of a connection.
    threads = [threading.Thread(target=_request_hub, args=(*hub[:2], answers), daemon=True) for hub in hubs]
    end = time.monotonic() + HUB_TIMEOUT
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    checks = []
    for name, url, remedy in hubs:
        problem = answers.get(name, _("no answer within {hub_timeout} s").format(hub_timeout=HUB_TIMEOUT))
        text = joined(": ", (_url_without_login(url), problem or _("is reachable")))
        checks.append(Check(name, "warning" if problem else "ok", text, remedy if problem else ""))
    return checks


def _url_without_login(url: str) -> str:
    return re.sub(r"(?<=://)[^/]*@", "", url)


def _request_hub(name: str, url: str, answers: dict[str, str]) -> None:
    """Put the problem of a hub into `answers`, "" for none; any status but a failure counts as reached."""
    if not url.startswith(("http://", "https://")):
        answers[name] = _("is not an http(s) address")
        return
    try:
        request = Request(_url_without_login(url), method="HEAD", headers={"User-Agent": "ftbridge"})  # noqa: S310 - checked
        with urlopen(request, timeout=HUB_TIMEOUT):  # noqa: S310 - checked
            answers[name] = ""
    except HTTPError as error:
        refused = error.code >= 500 or error.code == 407  # noqa: PLR2004 - the hub or a proxy is not working
        answers[name] = _("status {code}").format(code=error.code) if refused else ""
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        answers[name] = _("its name cannot be resolved (DNS)") if isinstance(reason, gaierror) else str(reason)
