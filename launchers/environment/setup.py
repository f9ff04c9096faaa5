"""`ftbridge setup`: make, renew or repair a training environment."""

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

from ftbridge.core.console import counted, natural_size, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import locked
from ftbridge.core.process import children
from ftbridge.core.project import Project
from ftbridge.language import english
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import (
    LOCK_NAMES,
    NEWEST,
    Environment,
    backends_of,
    broken_imports,
    default_folder,
    forget_imports,
    inspect_environment,
)
from ftbridge.launchers.hardware import host
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.process import caches

# The size of an environment, measured on Linux with Python 3.11, and of one beside another: uv links what both have.
ENVIRONMENT_SIZE, SECOND_ENVIRONMENT_SIZE = 9, 4  # GiB
# The names at the top of a virtual environment, by venv, uv, virtualenv, and packages.
VENV_ENTRIES = {
    "pyvenv.cfg", "bin", "lib", "lib64", "include", "share", "etc", "man", "CACHEDIR.TAG", ".gitignore", ".lock",
}  # fmt: skip


def setup(venv: str | os.PathLike[str] | None = None, environment: Environment = NEWEST) -> Path:
    """Make, renew or repair a training environment in `venv` (default: one for all projects); returns its Python.

    Raises InputError where `venv` is a folder of something else, or the settings that it is noted in are somebody
    else's, SetupError where the disk is too small or uv fails, or where the frameworks cannot be imported in the end.
    """
    folder = Path(venv).expanduser().resolve() if venv else default_folder(environment)
    python = folder / "bin" / "python"
    # Before the download: settings that are refused are refused at once.
    project = Project.find() if folder != default_folder(environment) else None
    with locked(folder):
        if not _can_start(python):
            _refuse_other_folder(folder, needs_mark=folder != default_folder(environment))
            say(_("making a virtual environment in {folder}").format(folder=folder))
            _run_uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        differing = inspect_environment(python, []).differences(environment)
        if differing:
            _check_disk_space(folder, differing)
            say(
                _("installing {packages} of the tested set ({download_size}) ...").format(
                    packages=counted(len(differing), "package"), download_size=_download_size(differing)
                )
            )
            _install_packages(python, differing, environment)
            forget_imports(python, backends_of(environment))
        for module, error in broken_imports(python, backends_of(environment)).items():
            raise SetupError(
                _("`{module}` is installed but cannot be imported: {error}").format(module=module, error=error)
            )
    say(_("the training environment is ready: {python}").format(python=python))
    if project:
        _write_interpreter_setting(project, python, environment)
    return python


def _refuse_other_folder(folder: Path, *, needs_mark: bool) -> None:
    """Raise InputError where a folder that would be emptied holds anything but a virtual environment."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in found if name not in VENV_ENTRIES]
    if needs_mark and found and "pyvenv.cfg" not in found:
        strange = found
    is_file = folder.exists() and not folder.is_dir()
    if strange or is_file:
        what = _("holds `{strange}`, which is").format(strange=strange[0]) if strange else _("is")
        raise InputError(
            _(
                "`{folder}` {what} not a virtual environment, and would be emptied; give a new folder with `--venv DIR`"
            ).format(folder=folder, what=what)
        )


def _check_disk_space(folder: Path, differing: dict[str, str]) -> None:
    """Raise SetupError where the disk has no room for the environment, of which torch is the most."""
    if "torch" not in differing:
        return
    beside = any(default_folder(other).exists() and default_folder(other) != folder for other in LOCK_NAMES)
    needed = SECOND_ENVIRONMENT_SIZE if beside else ENVIRONMENT_SIZE
    free, at = host.free_space(folder)
    if free < needed * GIB:
        raise SetupError(
            _(
                "the environment takes about {needed} GiB, and {free} are free in {at}; free some space, or "
                "put it onto another disk with `--venv DIR`"
            ).format(needed=needed, free=natural_size(free, binary=True), at=at)
        )


def _download_size(differing: dict[str, str]) -> str:
    return _("about 4 GB to download") if "torch" in differing else _("a small download")


def _can_start(python: Path) -> bool:
    argv = [str(python), "-c", ""]
    return not children.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def _install_packages(python: Path, differing: dict[str, str], environment: Environment) -> None:
    """Install the lock of `environment`; packages that lack files are installed again."""
    broken = [name for name, why in differing.items() if str(english(why)).endswith("missing")]
    again = [option for name in broken for option in ("--reinstall-package", name)]
    with resources.as_file(resources.files("ftbridge.launchers").joinpath(f"{LOCK_NAMES[environment]}.lock")) as lock:
        # Bytecode at once: where Python is told not to write it, as in many images, each start would compile again.
        _run_uv("pip", "install", "--compile-bytecode", "--python", str(python), "--no-deps", *again, "-r", str(lock))


def _write_interpreter_setting(project: Project, python: Path, environment: Environment) -> None:
    """Write `python` into ftbridge.yaml for the backends that it has; prints what to write where it is the user's."""
    key = "python" if environment == NEWEST else "python_transformers4"
    backends = {name: {key: str(python)} for name in backends_of(environment)}
    if written := project.write_settings({"backends": backends}):
        say(_("wrote {written}, so that `train` in this folder uses it").format(written=written))
    elif any(getattr(project.settings.backends.get(name), key, "") != str(python) for name in backends):
        lines = "\n".join(f"  {name}: {{{key}: {python}}}" for name in backends)
        say(
            _("to use it, put this into {file}:\nbackends:\n{lines}").format(
                file=project.folder / "ftbridge.yaml", lines=lines
            )
        )


def _run_uv(*arguments: str) -> None:
    from uv import find_uv_bin

    environment = {**os.environ, **caches.environment_variables(), **_pip_index_variables()}
    # Not here: uv would obey a uv.toml or pyproject.toml of the current folder, whoever's it is.
    done = children.run([find_uv_bin(), *arguments], env=environment, cwd="/")
    if done.returncode:
        raise SetupError(
            _(
                "uv {argument} failed (exit status {returncode}); see its message above. Behind a "
                "mirror, set pip's index (`pip config set global.index-url URL`): setup uses the same"
            ).format(argument=arguments[0], returncode=done.returncode)
        )


def _pip_index_variables() -> dict[str, str]:
    """Return the environment variables that give uv, which does not read pip's configuration, the index of pip here."""
    # -P: no pip of the current folder is run.
    argv = [sys.executable, "-P", "-m", "pip", "config", "list"]
    done = children.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    settings: dict[str, str] = {}
    for line in done.stdout.splitlines():  # environment variables come first and win
        key, _unused, value = line.partition("=")
        settings.setdefault(key.rpartition(".")[2], value.strip().strip("'\""))
    found = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").replace("\\n", " ").split()),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # pip's own: the best version of all indexes
    }
    return {key: value for key, value in found.items() if value and key not in os.environ}
