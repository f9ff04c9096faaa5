"""Which training environment a model runs in, by its config.json.

Code that came with a model (`auto_map`) before transformers 5 breaks under it, as InternLM 2's does; a class that
transformers has itself runs in the newest environment.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import sha256
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.project import Project
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import installed_versions, interpreter
from ftbridge.launchers.runs.fingerprint import Fingerprint
from ftbridge.launchers.runs.record import UNSIGNED, Run, base_folder

_CONFIG_CLASS = re.compile(r'^\s*\("([\w.-]+)", "\w+Config"\)', re.MULTILINE)


def interpreter_for(project: Project, backend: str, model: Path, *, trust_remote_code: bool) -> Path:
    """Return the Python that has `backend` and can load the model in the folder `model`.

    Raises SetupError where that environment is not there, InputError for a model type that no environment knows, or
    ChatGLM-6B's.
    """
    file = model / "config.json"
    config = read_json(file) if file.is_file() else {}
    kind = str(config.get("model_type") or "")
    if (kernel := _hub_kernel(config)) and not trust_remote_code:
        raise InputError(
            _(
                "`{file}` has attention computed by `{kernel}`, which is code that is fetched from a "
                "hub; take that line out, or, if you trust who made it, add `--trust-remote-code`"
            ).format(file=file, kernel=kernel)
        )
    if kind == "chatglm" and "position_encoding_2d" in config:
        raise InputError(
            _(
                "`{model}` is ChatGLM-6B, which neither framework trains: its own code counts "
                "positions in two dimensions, and sees the whole prompt at once; take ChatGLM3 or "
                "GLM-4"
            ).format(model=model)
        )
    if needs_transformers4(config) and (trust_remote_code or kind not in _newest_model_types(project, backend)):
        try:
            return interpreter(project, backend, "transformers4")
        except SetupError as error:
            raise SetupError(
                _("the code in `{model}` breaks under transformers 5: {error}").format(model=model, error=error)
            ) from error
    python = interpreter(project, backend)
    known = known_model_types(python)
    if not kind or not known or kind in known or config.get("auto_map"):
        return python
    version = installed_versions(python).get("transformers")
    raise InputError(
        _(
            "`{file}` says model_type `{kind}`, which transformers {version} does not know, and "
            "the folder holds no code for it; name a Python with a newer transformers in "
            "ftbridge.yaml (`backends: {{{backend}: {{python: PATH}}}}`)"
        ).format(file=file, kind=kind, version=version, backend=backend)
    )


def _newest_model_types(project: Project, backend: str) -> frozenset[str]:
    """Return the model types that the newest environment has classes for; none where it is not there."""
    with suppress(SetupError):
        return known_model_types(interpreter(project, backend))
    return frozenset()


def is_code_trusted(run: Run | None, models: Sequence[Path], *, trust_remote_code: bool) -> bool:
    """Tell whether code that comes with `models` may run: with `trust_remote_code`, or where `run` was trained with it.

    The latter counts where this machine signed the record, and only for the code that the trained model has: a merged
    model beside it may be anybody's. Prints a note where it does not count.
    """
    if trust_remote_code or not run or not run.spec.trust_remote_code:
        return trust_remote_code
    if not run.signature:
        reason = _("its record {unsigned}").format(unsigned=UNSIGNED)
    elif run.base is None:
        reason = _("its record does not say with which code")
    else:
        base = Path(base_folder(run))
        other = next((file for model in models for file in _unrecorded_code(model, base, run.base)), None)
        if not other:
            return True
        reason = _("`{other}` is not what it was trained with").format(other=other)
    say(
        _(
            "note: code that comes with the model is not run. `{id}` was trained with "
            "`--trust-remote-code`, but {reason}; if you trust who made the model, give the "
            "option again"
        ).format(id=run.id, reason=reason)
    )
    return False


def _unrecorded_code(model: Path, base: Path, recorded: Fingerprint) -> Iterable[Path]:
    """Yield the files of `model` with code that the recorded `base` had not, or that name a repository with code."""
    for file in model.rglob("*.py"):
        if not _is_as_recorded(file, model, recorded):
            yield file
    known = {
        name
        for file in base.glob("*config.json")
        if _is_as_recorded(file, base, recorded)
        for name in _hub_code_names(file)
    }
    for file in model.glob("*config.json"):
        if not known.issuperset(_hub_code_names(file)):
            yield file


def _is_as_recorded(file: Path, folder: Path, recorded: Fingerprint) -> bool:
    return file.is_file() and sha256(file) == recorded.files.get(file.relative_to(folder).as_posix())


def _hub_code_names(file: Path) -> list[str]:
    """Return the classes that a config names as `owner/name--module.Class`, which are fetched from a hub."""
    named = read_json(file).get("auto_map")
    listed = named.values() if isinstance(named, dict) else [named]
    flat = (each for value in listed for each in (value if isinstance(value, list) else [value]))
    return [name for name in flat if isinstance(name, str) and "--" in name]


def needs_transformers4(config: dict[str, Any]) -> bool:
    """Tell whether a model of this config.json brings code that was written for transformers 4 or older."""
    version = str(config.get("transformers_version") or "4")
    return bool(config.get("auto_map")) and re.match(r"[0-4](\.|$)", version) is not None


def _hub_kernel(config: dict[str, Any]) -> str:
    """Return the repository of a hub whose attention kernel config.json asks for, "" for none."""
    sections = [config, *(section for section in config.values() if isinstance(section, dict))]
    keys = ("_attn_implementation", "attn_implementation")
    wanted = [str(section.get(key) or "") for section in sections for key in keys]
    return next((each for each in wanted if "/" in each), "")


@cache
def known_model_types(python: Path) -> frozenset[str]:
    """Return the model types that the transformers of `python` has classes for; none where it is not beside it."""
    folders = python.parent.parent.glob("lib/python3*/site-packages/transformers/models/auto")
    files = (folder / name for folder in folders for name in ("configuration_auto.py", "auto_mappings.py"))
    return frozenset(
        name for file in files if file.is_file() for name in _CONFIG_CLASS.findall(file.read_text(encoding="utf-8"))
    )
