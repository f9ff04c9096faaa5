"""The training environments: where they are, what they hold, how their interpreters are asked.

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

from ftbridge.core.console import say
from ftbridge.core.errors import SetupError
from ftbridge.core.files.owner import data_folder
from ftbridge.core.plugins import load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.launchers.hardware import host, nvidia
from ftbridge.launchers.process.script import run_script

Environment = Literal["transformers5", "transformers4"]
NEWEST: Environment = "transformers5"
# By environment, what its lock and its folder are called.
SETS: dict[Environment, str] = {"transformers5": "training", "transformers4": "training-transformers4"}
# What no training does without, beside the packages of its backend.
NEEDED = ("torch", "transformers", "peft", "deepspeed", "bitsandbytes", "datasets")


class Package(msgspec.Struct, frozen=True):
    """An installed package; `missing` counts files that its record names and the disk lacks."""

    version: str
    missing: int


class Inspection(msgspec.Struct, frozen=True):
    """What an interpreter reports of its environment; `imports` maps a module to what importing it raised."""

    python: str
    packages: dict[str, Package]
    imports: dict[str, str]

    def wrong(self, environment: Environment = NEWEST) -> dict[str, str]:
        """Return what differs from the tested set of `environment`: package to what is wrong with it."""
        found = {}
        for name, version in pinned_versions(environment).items():
            package = self.packages.get(name)
            if package is None:
                found[name] = "not installed"
            elif package.version != version:
                found[name] = f"{package.version} instead of {version}"
            elif package.missing:
                found[name] = f"{package.missing} files missing"
        return found


def default_folder(environment: Environment = NEWEST) -> Path:
    """Return where `ftbridge setup` puts a training environment: one for all projects of a user."""
    return data_folder() / SETS[environment]


@cache
def pinned_versions(environment: Environment) -> dict[str, str]:
    """Return the pinned version of each package of a training environment."""
    lock = resources.files("ftbridge.launchers").joinpath(f"{SETS[environment]}.lock").read_text(encoding="utf-8")
    pins = (line.split("==") for line in lock.splitlines() if "==" in line)
    return {name.strip(): version.strip() for name, version in pins}


def interpreter(project: Project, backend: str, environment: Environment = NEWEST) -> Path:
    """Return the interpreter that has `backend`: the one that ftbridge.yaml names, else that of `ftbridge setup`.

    One that is named alone serves as the second environment, too, where it has transformers 4. Raises SetupError
    where there is none, or where it is not whole; says so where it is not the tested set.
    """
    key = "python" if environment == NEWEST else "python_transformers4"
    if path := _named(project, backend, key):
        return path
    own = _named(project, backend, "python")
    if own and environment_of(installed_versions(own)) == environment:
        return own
    if backend not in backends_of(environment):
        raise SetupError(
            f"`ftbridge setup` installs nothing for {backend}; name a Python that has it in ftbridge.yaml: "
            f"`backends: {{{backend}: {{{key}: PATH}}}}`"
        )
    path, command = default_folder(environment) / "bin" / "python", setup_command(environment)
    if not path.exists():
        raise SetupError(
            f"{_title(environment)} is not there; make it with `{command}` (about 9 GB of disk), or "
            f"name a Python that has {backend} in ftbridge.yaml: `backends: {{{backend}: {{{key}: PATH}}}}`"
        )
    _compare(path, environment)
    return path


def backends_of(environment: Environment = NEWEST) -> list[str]:
    """Return the backends that an environment of `ftbridge setup` has all packages of."""
    pinned = pinned_versions(environment).keys()
    return [name for name in plugin_names("backends") if pinned >= {*load_backend(name).packages}]


def any_backend(project: Project, preferred: str = "") -> str:
    """Return a backend for what each of them can do, such as loading a model: the first whose interpreter is known.

    That is `preferred` if it can be, then those that ftbridge.yaml names. Where there is no interpreter at all, asking
    for that of the backend says what to do.
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
    """Return which environment holds these versions, by its transformers; one without is taken for the newest."""
    return "transformers4" if installed.get("transformers", "").startswith("4.") else NEWEST


def setup_command(environment: Environment) -> str:
    """Return the command that makes, renews and repairs an environment."""
    return "ftbridge setup" + (f" --environment {environment}" if environment != NEWEST else "")


def _named(project: Project, backend: str, key: str) -> Path | None:
    chosen = getattr(project.settings.backends.get(backend), key, "")
    if not chosen:
        return None
    path = project.folder / os.path.expanduser(chosen)  # noqa: PTH111 - it leaves a user that is not there as it is
    if not path.exists():
        raise SetupError(f"ftbridge.yaml names `{path}` as the Python of {backend}, but it is not there")
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise SetupError(f"ftbridge.yaml names `{path}` as the Python of {backend}, but it is no program")
    return path


def _title(environment: Environment) -> str:
    return "the training environment" + (f" {environment}" if environment != NEWEST else "")


@cache
def _compare(python: Path, environment: Environment) -> None:
    """Say where an environment of `ftbridge setup` is another ftbridge's; raise SetupError where it is half made."""
    found, wanted = _installed(python), pinned_versions(environment)
    needed = {*NEEDED, *(package for name in backends_of(environment) for package in load_backend(name).packages)}
    missing = sorted(wanted.keys() - found.keys(), key=lambda name: name not in needed)
    if "transformers" in found and environment_of(found) != environment != NEWEST:
        raise SetupError(
            f"{_title(environment)} holds transformers {found['transformers']} by now; make it anew with "
            f"`{setup_command(environment)}`"
        )
    other = [
        f"{name} {found[name]} instead of {version}"
        for name, version in wanted.items()
        if found.get(name, version) != version
    ]
    # An older set may lack what only the newer one has.
    if missing and (missing[0] in needed or not other):
        raise SetupError(
            f"{_title(environment)} is not whole ({len(missing)} of {len(wanted)} packages are missing, among them "
            f"{missing[0]}); finish it with `{setup_command(environment)}`"
        )
    if other:
        named = [each for each in other if each.startswith(("transformers ", "torch ", "peft "))] or other
        say(
            f"note: {_title(environment)} is not the one that this ftbridge was tested with ({', '.join(named[:3])}); "
            f"renew it with `{setup_command(environment)}`"
        )


def inspect(python: Path, imports: list[str]) -> Inspection:
    """Return what the environment of `python` holds, importing `imports` there (15 s each)."""
    line = run_script(python, "inspect_environment", {"imports": imports}, stderr=subprocess.PIPE, sees_gpus=True)
    return msgspec.json.decode(line, type=Inspection)


def installed_versions(python: Path) -> dict[str, str]:
    """Return the version of each package beside `python`, by the names of the folders that installers leave.

    Takes milliseconds, where `inspect` starts the interpreter and looks for every file, as it must where the
    interpreter sees packages of another one.
    """
    file = python.parent.parent / "pyvenv.cfg"
    settings = file.read_text("utf-8", "replace") if file.is_file() else ""
    shares = re.search(r"include-system-site-packages *= *true", settings)
    found = {} if shares else _installed(python)
    return found or {name: package.version for name, package in inspect(python, []).packages.items()}


def _installed(python: Path) -> dict[str, str]:
    found = {}
    for folder in python.parent.parent.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-").replace(".", "-")] = version
    return found


def modules(backends: Sequence[str]) -> list[str]:
    """Return what trainings with `backends` import, as setup, doctor and the pre-flight try it."""
    return [*(load_backend(name).module for name in backends), "deepspeed", "bitsandbytes"]


def forget_imports(python: Path, backends: Sequence[str]) -> None:
    """Have the frameworks of `python` tried again, whatever went well before."""
    _stamp(python, modules(backends)).unlink(missing_ok=True)


def broken_imports(python: Path, backends: Sequence[str]) -> dict[str, str]:
    """Return the `modules` that cannot be imported, with what importing them raised.

    It takes up to half a minute, so what went well is not tried again with the same packages, cards and drivers.
    """
    wanted = modules(backends)
    stamp = _stamp(python, wanted)
    if stamp.exists():
        return {}
    say("importing the frameworks once on this machine, to be sure ...")
    errors = {module: error for module, error in inspect(python, wanted).imports.items() if error}
    if not errors:
        with suppress(OSError):  # then they are tried again the next time
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
    return errors


def _stamp(python: Path, wanted: Sequence[str]) -> Path:
    cards = [(gpu.name, gpu.driver) for gpu in nvidia.gpus()]
    about = [str(python), wanted, sorted(installed_versions(python).items()), cards, str(host.toolkit())]
    return default_folder().parent / "imported" / hashlib.sha256(msgspec.json.encode(about)).hexdigest()[:32]
