"""The training environments: where they are, which packages they hold, how their interpreters are asked.

There are two, for no transformers runs all models: the newest one knows this year's, and code that came with a model
before it breaks there. `ftbridge setup` makes them (setup.py), and a model's config says which it needs (own_code.py).
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.core.console import counted, say
from ftbridge.core.errors import SetupError
from ftbridge.core.files.owner import data_folder
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.hardware import host, nvidia
from ftbridge.launchers.process.script import run_script

Environment = Literal["transformers5", "transformers4"]
NEWEST: Environment = "transformers5"
# By environment, the name of its lock file and of its folder.
LOCK_NAMES: dict[Environment, str] = {"transformers5": "training", "transformers4": "training-transformers4"}
# Packages that every training needs, beside those of its backend.
REQUIRED_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "bitsandbytes", "datasets")


class Package(msgspec.Struct, frozen=True):
    """An installed package; `missing` counts files that its record names and the disk lacks."""

    version: str
    missing: int


class Inspection(msgspec.Struct, frozen=True):
    """What an interpreter reports of its environment; `imports` maps a module to what importing it raised."""

    python: str
    packages: dict[str, Package]
    imports: dict[str, str]

    def differences(self, environment: Environment = NEWEST) -> dict[str, str]:
        """Return the packages that differ from the lock of `environment`, by name: each with what is wrong with it."""
        found = {}
        for name, version in pinned_versions(environment).items():
            package = self.packages.get(name)
            if package is None:
                found[name] = _("not installed")
            elif package.version != version:
                found[name] = _("{version} instead of {wanted}").format(version=package.version, wanted=version)
            elif package.missing:
                found[name] = _("{files} missing").format(files=counted(package.missing, "file"))
        return found


def default_folder(environment: Environment = NEWEST) -> Path:
    """Return the folder of the environment that `ftbridge setup` makes, one for all projects of a user."""
    return data_folder() / LOCK_NAMES[environment]


@cache
def pinned_versions(environment: Environment) -> dict[str, str]:
    """Return the pinned version of each package of a training environment."""
    lock = resources.files("ftbridge.launchers").joinpath(f"{LOCK_NAMES[environment]}.lock").read_text(encoding="utf-8")
    pins = (line.split("==") for line in lock.splitlines() if "==" in line)
    return {name.strip(): version.strip() for name, version in pins}


def interpreter(project: Project, backend: str, environment: Environment = NEWEST) -> Path:
    """Return the Python that has `backend`: the one that ftbridge.yaml names, else that of `ftbridge setup`.

    One that is named alone serves as the second environment, too, where it has transformers 4. Raises SetupError
    where there is none, or where packages are missing; prints a note where versions differ from the lock.
    """
    key = "python" if environment == NEWEST else "python_transformers4"
    if path := configured_interpreter(project, backend, key):
        return path
    configured = configured_interpreter(project, backend)
    if configured and environment_of(installed_versions(configured)) == environment:
        return configured
    if backend not in backends_of(environment):
        raise SetupError(
            _(
                "`ftbridge setup` installs nothing for {backend}; name a Python that has it in "
                "ftbridge.yaml: `backends: {{{backend}: {{{key}: PATH}}}}`"
            ).format(backend=backend, key=key)
        )
    path, command = default_folder(environment) / "bin" / "python", setup_command(environment)
    if not path.exists():
        raise SetupError(
            _(
                "{environment_title} is not there; make it with `{command}` (about 9 GB of disk), or "
                "name a Python that has {backend} in ftbridge.yaml: `backends: {{{backend}: {{{key}: "
                "PATH}}}}`"
            ).format(environment_title=_environment_title(environment), command=command, backend=backend, key=key)
        )
    _check_against_lock(path, environment)
    return path


def backends_of(environment: Environment = NEWEST) -> list[str]:
    """Return the backends that an environment of `ftbridge setup` has all packages of."""
    pinned = pinned_versions(environment).keys()
    return [name for name in plugin_names("backends") if pinned >= {*load_backend(name).packages}]


def installed_backends(project: Project) -> list[str]:
    """Return the backends that could train: those with a Python in ftbridge.yaml, and those of `ftbridge setup`."""
    installed = _versions_from_folders(default_folder() / "bin" / "python").keys()
    return [
        name
        for name in plugin_names("backends")
        if name in project.settings.backends or (installed and installed >= {*load_backend(name).packages})
    ]


def any_backend(project: Project, preferred: str = "") -> str:
    """Return a backend for what each of them can do, such as loading a model: the first whose interpreter is known.

    `preferred` comes first, then those that ftbridge.yaml names. Where none has an interpreter, it is the first
    nevertheless: `interpreter` then raises the SetupError that says what to do.
    """
    known = plugin_names("backends")
    names = [name for name in (preferred, *project.settings.backends, *reversed(known)) if name in known]
    for name in names:
        if name in project.settings.backends:
            return name
        with suppress(SetupError):
            interpreter(project, name)
            return name
    return names[0]


def environment_of(installed: Mapping[str, str]) -> Environment:
    """Return which environment has these package versions, by its transformers; one without counts as the newest."""
    return "transformers4" if installed.get("transformers", "").startswith("4.") else NEWEST


def setup_command(environment: Environment) -> str:
    """Return the command that makes, renews and repairs an environment."""
    return "ftbridge setup" + (
        _(" --environment {environment}").format(environment=environment) if environment != NEWEST else ""
    )


def configured_interpreter(project: Project, backend: str, key: str = "python") -> Path | None:
    """Return the Python that ftbridge.yaml names under `key`, None for none; raises SetupError where it is missing."""
    setting = getattr(project.settings.backends.get(backend), key, "")
    if not setting:
        return None
    path = project.folder / os.path.expanduser(setting)  # noqa: PTH111 - it leaves a user that is not there as it is
    if not path.exists():
        raise SetupError(
            _("ftbridge.yaml names `{path}` as the Python of {backend}, but it is not there").format(
                path=path, backend=backend
            )
        )
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise SetupError(
            _("ftbridge.yaml names `{path}` as the Python of {backend}, but it is not executable").format(
                path=path, backend=backend
            )
        )
    return path


def _environment_title(environment: Environment) -> str:
    return _("the training environment") + (f" {environment}" if environment != NEWEST else "")


@cache
def _check_against_lock(python: Path, environment: Environment) -> None:
    """Print a note where the versions of an environment of `ftbridge setup` differ from this ftbridge's lock.

    Raises SetupError where packages are missing.
    """
    found, pinned = _versions_from_folders(python), pinned_versions(environment)
    needed = {
        *REQUIRED_PACKAGES,
        *(package for name in backends_of(environment) for package in load_backend(name).packages),
    }
    missing = sorted(pinned.keys() - found.keys(), key=lambda name: name not in needed)
    if environment != NEWEST and "transformers" in found and environment_of(found) != environment:
        raise SetupError(
            _("{environment_title} now holds transformers {transformers}; make it again with `{setup_command}`").format(
                environment_title=_environment_title(environment),
                transformers=found["transformers"],
                setup_command=setup_command(environment),
            )
        )
    differing = [
        _("{name} {found} instead of {version}").format(name=name, found=found[name], version=version)
        for name, version in pinned.items()
        if found.get(name, version) != version
    ]
    # An older set may lack what only the newer one has.
    if missing and (missing[0] in needed or not differing):
        raise SetupError(
            _(
                "{environment_title} is incomplete ({count} of {pinned_count} packages are missing, "
                "e.g. {missing}); finish it with `{setup_command}`"
            ).format(
                environment_title=_environment_title(environment),
                count=len(missing),
                pinned_count=len(pinned),
                missing=missing[0],
                setup_command=setup_command(environment),
            )
        )
    if differing:
        shown = [each for each in differing if each.startswith(("transformers ", "torch ", "peft "))] or differing
        say(
            _(
                "note: {environment_title} is not the one that this ftbridge was tested with "
                "({shown}); renew it with `{setup_command}`"
            ).format(
                environment_title=_environment_title(environment),
                shown=joined(", ", shown[:3]),
                setup_command=setup_command(environment),
            )
        )


def inspect_environment(python: Path, imports: list[str]) -> Inspection:
    """Return what the environment of `python` holds, importing `imports` there (15 s each)."""
    line = run_script(python, "inspect_environment", {"imports": imports}, stderr=subprocess.PIPE, sees_gpus=True)
    return msgspec.json.decode(line, type=Inspection)


def installed_versions(python: Path) -> dict[str, str]:
    """Return the version of each package beside `python`, by the names of the folders that installers leave.

    Takes milliseconds. `inspect_environment`, which starts the interpreter and looks for every file, is asked where
    the interpreter sees packages of another one.
    """
    file = python.parent.parent / "pyvenv.cfg"
    settings = file.read_text("utf-8", "replace") if file.is_file() else ""
    shares = re.search(r"include-system-site-packages *= *true", settings)
    found = {} if shares else _versions_from_folders(python)
    return found or {name: package.version for name, package in inspect_environment(python, []).packages.items()}


def _versions_from_folders(python: Path) -> dict[str, str]:
    found = {}
    for folder in python.parent.parent.glob("lib/python3*/site-packages/*.dist-info"):
        name, _unused, version = folder.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-").replace(".", "-")] = version
    return found


def imported_modules(backends: Sequence[str]) -> list[str]:
    """Return the modules that trainings with `backends` import, as setup, doctor and the pre-flight try it."""
    return [*(load_backend(name).module for name in backends), "deepspeed", "bitsandbytes"]


def forget_imports(python: Path, backends: Sequence[str]) -> None:
    """Have `broken_imports` import the frameworks of `python` again, though they could be imported before."""
    _import_stamp(python, imported_modules(backends)).unlink(missing_ok=True)


def broken_imports(python: Path, backends: Sequence[str]) -> dict[str, str]:
    """Return the `imported_modules` that cannot be imported, with what importing them raised.

    It takes up to half a minute, so what went well is not tried again with the same packages, GPUs and drivers.
    """
    wanted = imported_modules(backends)
    stamp = _import_stamp(python, wanted)
    if stamp.exists():
        return {}
    say(_("importing the frameworks once on this machine, to be sure ..."))
    errors = {module: error for module, error in inspect_environment(python, wanted).imports.items() if error}
    if not errors:
        with suppress(OSError):  # then they are tried again the next time
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
    return errors


def _import_stamp(python: Path, wanted: Sequence[str]) -> Path:
    """Return the file whose being there says that `wanted` could be imported, with these packages, GPUs and drivers."""
    gpus = [(gpu.name, gpu.driver) for gpu in nvidia.gpus()]
    about = [str(python), wanted, sorted(installed_versions(python).items()), gpus, str(host.cuda_toolkit())]
    return default_folder().parent / "imported" / hashlib.sha256(msgspec.json.encode(about)).hexdigest()[:32]
