"""`--config FILE`: settings of ours, or a config of LLaMA-Factory or XTuner, which become settings."""

import os
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ftbridge.core.console import aligned, say
from ftbridge.core.errors import InputError, UsageError, shell_words
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import load_yaml
from ftbridge.core.project import Project, Settings
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info import registry
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.other_configs import llamafactory, xtuner
from ftbridge.launchers.backends.other_configs.translation import Translation


def find_project(config: str | os.PathLike[str] | None = None, backend: str | None = None) -> Project:
    """Return the project around the current folder, with the settings of `config`: ours, LLaMA-Factory's or XTuner's.

    What a config of theirs means is printed, and what has no counterpart; `backend` is what will train, by default the
    program that the config is for. Raises InputError or UsageError where it cannot be read.
    """
    if not config:
        return Project.find()
    file = Path(config)
    found = _translate(file, backend)
    if not found:
        return Project.find(config=file)
    project = Project.find()
    if found.data:
        _take_dataset(project, found)
    _say_translation(file, found)
    places = {key: f"`{file}`: `{key}`" for key in found.options}
    return replace(project, settings=Settings(found.options, project.settings.backends, places))


def _translate(file: Path, backend: str | None) -> Translation | None:
    """Return what a config of another program means, None for settings of ours."""
    where = f"`{file}`"
    try:
        if file.suffix == ".py":
            found = xtuner.translate_config(read_text(file, _("settings file")), where)
        else:
            values = load_yaml(read_text(file, _("settings file")), where)
            if not llamafactory.is_config(values):
                return None
            found = llamafactory.translate_config(values, backend or llamafactory.NAME)
    except UsageError as error:
        raise InputError(_("{where}: {error}").format(where=where, error=error)) from error
    return found


def _take_dataset(project: Project, found: Translation) -> None:
    """Take the registered dataset that has one of the files of a config, where there is one."""
    files = {Path(name).name for name in found.data}
    for name, entry in registry.converted_entries(project.folder / (project.state().dataset_dir or "data")).items():
        if files & {Path(file).name for file in entry.files.values()}:
            found.options["dataset"] = name
            return
    why = _("convert it with `ftbridge convert`, or name a dataset with --dataset")
    found.leave_out("dataset", ", ".join(found.data), why)


def _say_translation(file: Path, found: Translation) -> None:
    say(_("`{file}` is a config of {title}; it means:").format(file=file, title=found.title))
    say(_("  {options}").format(options=shell_words(as_words(found.options))))
    if found.left_out:
        say(_("without a counterpart, left out:"))
        say("\n".join(f"  {line}" for line in aligned([*found.left_out.items()]).splitlines()))


def as_words(options: dict[str, Any]) -> list[str]:
    """Return options as they are typed, in the order of the help: `--lora-rank 8 --no-packing`."""
    names = sorted(options, key=TrainSpec.__struct_fields__.index)
    return [word for name in names for word in _words_of(f"--{name.replace('_', '-')}", options[name])]


def _words_of(option: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for key, item in value.items() for word in (option, f"{key}={_typed(item)}")]
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
    return [option, ",".join(value) if isinstance(value, tuple) else _typed(value)]


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
