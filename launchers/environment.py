"""The training environment: where it is, how it is made and repaired, how its interpreter is asked."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import SetupError
from ftbridge.core.files import locked
from ftbridge.core.plugins import backend as load_backend
from ftbridge.core.plugins import names
from ftbridge.core.project import Project
from ftbridge.launchers import machine

HELPERS = Path(__file__).with_name("helpers")
# Children speak UTF-8, send no telemetry, and print as they go.
QUIET = {
    # Else `import deepspeed`, which XTuner and transformers' Trainer do, fails where there is a GPU and no nvcc.
    "DS_IGNORE_CUDA_DETECTION": "1",
    # LLaMA-Factory 0.9.5 allows transformers up to 5.6 and peft up to 0.20; helpers/mends.py mends what is newer.
    "DISABLE_VERSION_CHECK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Package(msgspec.Struct, frozen=True):
    """An installed package; `missing` counts files that its record names and the disk lacks."""

    version: str
    missing: int


class Inspection(msgspec.Struct, frozen=True):
    """What an interpreter reports of its environment; `imports` maps a module to what importing it raised."""

    python: str
    packages: dict[str, Package]
    imports: dict[str, str]

    def wrong(self) -> dict[str, str]:
        """Return what differs from the tested set: package to what is wrong with it."""
        found = {}
        for name, version in tested_set().items():
            package = self.packages.get(name)
            if package is None:
                found[name] = "not installed"
            elif package.version != version:
                found[name] = f"{package.version} instead of {version}"
            elif package.missing:
                found[name] = f"{package.missing} files missing"
        return found


def default_folder() -> Path:
    """Return where `ftbridge setup` puts the training environment: one for all projects of a user."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "ftbridge" / "training"


def tested_set() -> dict[str, str]:
    """Return the pinned version of each package of the training environment."""
    lock = resources.files("ftbridge.launchers").joinpath("training.lock").read_text(encoding="utf-8")
    pins = (line.split("==") for line in lock.splitlines() if "==" in line)
    return {name.strip(): version.strip() for name, version in pins}


def interpreter(project: Project, backend: str) -> Path:
    """Return the interpreter that has `backend`; raises SetupError where there is none."""
    chosen = project.settings.backends.get(backend)
    if chosen:
        path = project.folder / Path(chosen.python).expanduser()
        if not path.exists():
            raise SetupError(f"ftbridge.yaml names `{path}` as the Python of {backend}, but it is not there")
        return path
    path = default_folder() / "bin" / "python"
    if not path.exists():
        raise SetupError(
            "the training environment is not there; make it with `ftbridge setup` (about 8 GB of disk), or "
            f"name a Python that has {backend} in ftbridge.yaml: `backends: {{{backend}: {{python: PATH}}}}`"
        )
    return path


def ask(python: Path, helper: str, spec: dict[str, Any], *, stderr: int | None = None, sees_gpus: bool = False) -> str:
    """Run a helper in the environment of `python`; returns the last line it printed.

    Few compute anything, so that GPUs are hidden unless it `sees_gpus`.
    Raises SetupError, with the end of what it wrote, where it fails.
    """
    argv = [str(python), str(HELPERS / f"{helper}.py"), msgspec.json.encode(spec).decode()]
    environment = {**os.environ, **QUIET} | ({} if sees_gpus else machine.environment(()))
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=stderr, check=False, env=environment, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        tail = "\n".join((done.stderr or done.stdout or "").strip().splitlines()[-15:])
        raise SetupError(f"`{python}` could not run {helper} (exit status {done.returncode})\n{tail}".rstrip())
    return lines[-1]


def inspect(python: Path, imports: list[str]) -> Inspection:
    """Return what the environment of `python` holds, importing `imports` there (15 s each)."""
    line = ask(python, "inspect_environment", {"imports": imports}, stderr=subprocess.PIPE, sees_gpus=True)
    return msgspec.json.decode(line, type=Inspection)


def versions(python: Path) -> dict[str, str]:
    """Return the version of each package beside `python`, by the names of the folders that installers leave.

    Takes milliseconds, where `inspect` starts the interpreter and looks for every file.
    """
    found = {}
    for folder in python.parent.parent.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-").replace(".", "-")] = version
    return found or {name: package.version for name, package in inspect(python, []).packages.items()}


def modules(backends: Sequence[str]) -> list[str]:
    """Return what trainings with `backends` import, as setup, doctor and the pre-flight try it."""
    return [*(load_backend(name).module for name in backends), "deepspeed", "bitsandbytes"]


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
    cards = [(gpu.name, gpu.driver) for gpu in machine.gpus()]
    about = [str(python), wanted, sorted(versions(python).items()), cards, str(machine.toolkit())]
    return default_folder().parent / "imported" / hashlib.sha256(msgspec.json.encode(about)).hexdigest()[:32]


def setup(venv: str | os.PathLike[str] | None = None) -> Path:
    """Make or repair the training environment in `venv` (default: one for all projects); returns its Python.

    Raises SetupError where uv fails, or where the frameworks cannot be imported in the end.
    """
    folder = Path(venv).expanduser().resolve() if venv else default_folder()
    python = folder / "bin" / "python"
    with locked(folder):
        if not _runs(python):
            say(f"making a virtual environment in {folder}")
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        wrong = inspect(python, []).wrong()
        if wrong:
            say(f"installing {len(wrong)} packages of the tested set (about 4 GB to download) ...")
            _install(python, wrong)
            _stamp(python, modules(names("backends"))).unlink(missing_ok=True)
        for module, error in broken_imports(python, names("backends")).items():
            raise SetupError(f"`{module}` is installed but cannot be imported: {error}")
    say(f"the training environment is ready: {python}")
    if folder != default_folder():
        _point_at(python)
    return python


def _runs(python: Path) -> bool:
    try:
        return not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode
    except OSError:
        return False


def _install(python: Path, wrong: dict[str, str]) -> None:
    broken = [name for name, why in wrong.items() if why.endswith("missing")]
    again = [option for name in broken for option in ("--reinstall-package", name)]
    with resources.as_file(resources.files("ftbridge.launchers").joinpath("training.lock")) as lock:
        # Bytecode at once: where Python is told not to write it, as in many images, each start would compile again.
        _uv("pip", "install", "--compile-bytecode", "--python", str(python), "--no-deps", *again, "-r", str(lock))


def _point_at(python: Path) -> None:
    backends = {name: {"python": str(python)} for name in names("backends")}
    project = Project.find()
    if written := project.write_settings({"backends": backends}):
        say(f"wrote {written}, so that `train` in this folder uses it")
    elif any(Path(b.python) != python for b in project.settings.backends.values()) or not project.settings.backends:
        lines = "\n".join(f"  {name}: {{python: {python}}}" for name in backends)
        say(f"to use it, put this into {project.folder / 'ftbridge.yaml'}:\nbackends:\n{lines}")


def _uv(*arguments: str) -> None:
    from uv import find_uv_bin

    done = subprocess.run([find_uv_bin(), *arguments], check=False, env={**os.environ, **_pip_index()})
    if done.returncode:
        raise SetupError(
            f"uv {arguments[0]} failed (exit status {done.returncode}); its message stands above. Behind a "
            "mirror, set pip's index (`pip config set global.index-url URL`): setup uses the same"
        )


def _pip_index() -> dict[str, str]:
    """Tell uv, which does not read pip's configuration, the index that pip uses here."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    settings: dict[str, str] = {}
    for line in done.stdout.splitlines():  # environment variables come first and win
        key, _, value = line.partition("=")
        settings.setdefault(key.rpartition(".")[2], value.strip().strip("'\""))
    found = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").replace("\\n", " ").split()),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # pip's own: the best version of all indexes
    }
    return {key: value for key, value in found.items() if value and key not in os.environ}
