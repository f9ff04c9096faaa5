"""The options of a training, from the command, ftbridge.yaml, the last conversion and the preset."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.parsing.json_yaml import nearest, parse
from ftbridge.core.plugins import Backend, load_backend, plugin_names
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec, dataset_choices, option_names
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.presets import load_preset
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.other_configs.translation import deepspeed_name
from ftbridge.launchers.environment.venv import installed_backends

HIGHEST_RATE = 0.1
NO_DATASET = _("there is no dataset yet: convert one first (`ftbridge convert FILE`), or name one with `--dataset`")
NO_MODEL = _(
    "which model? Give `--model` a folder or a hub's name, e.g. `--model "
    "Qwen/Qwen2.5-7B-Instruct`, or write `model: ...` into ftbridge.yaml"
)


def resolve_train_spec(project: Project, options: Mapping[str, Any]) -> TrainSpec:
    """Return the TrainSpec of the options, of ftbridge.yaml, of the last conversion, of the preset, and of defaults.

    What comes first wins. Raises UsageError where a backend, a dataset or a model is missing, or a value is not valid.
    """
    state = project.state()
    values: dict[str, Any] = {"dataset": state.dataset, "dataset_dir": state.dataset_dir or "data"}
    given = given_options(project, options)
    values |= project.settings.train | given
    values["dataset"] = _as_list(values["dataset"])
    backends = [str(values["backend"])] if "backend" in values else installed_backends(project)
    if len(backends) == 1:
        values["backend"] = load_backend(backends[0]).name
    preset = _preset_of(project, values) if values["dataset"] else ""
    _refuse_missing(project, values, backends, preset)
    if "model" not in values:
        values["model"] = load_preset(preset).model
        say(
            _("no model is chosen: using {model}, which suits the preset {preset}").format(
                model=values["model"], preset=preset
            )
        )
    try:
        return parse(
            TrainSpec, _with_set_as_text(values), _("the training"), project.settings.places | option_names(given)
        )
    except InputError as error:
        settings = project.settings.train.keys() - given_options(project, options).keys()
        found = sorted(name for name in settings if f"`--{name.replace('_', '-')}`" in str(error))
        where = _(" (`{found}` is set in ftbridge.yaml)").format(found=found[0]) if found else ""
        raise UsageError(_("{error}{where}").format(error=error, where=where)) from error


def _refuse_missing(project: Project, values: Mapping[str, Any], backends: Sequence[str], preset: str) -> None:
    """Raise UsageError that names all that is missing, or QuestionError where only the backend is to choose."""
    missing = {
        NO_DATASET: not values["dataset"],
        NO_MODEL: "model" not in values and not preset,
        _("choose a framework with `--backend`: {plugin_names}").format(
            plugin_names=joined(_(" or "), plugin_names("backends"))
        ): "backend" not in values,
    }
    lacking = [text for text, lacks in missing.items() if lacks]
    if lacking == [*missing][-1:] and backends:
        answers = {load_backend(name).title: ["--backend", name] for name in backends}
        raise QuestionError(_("which framework should train?"), answers)
    if lacking and not installed_backends(project):
        lacking = [_("there is no training environment: `ftbridge setup` makes it"), *lacking]
    if lacking:
        raise UsageError(lacking[0] if len(lacking) == 1 else "\n  ".join([_("several things are missing:"), *lacking]))


def _preset_of(project: Project, values: Mapping[str, Any]) -> str:
    """Return the preset that goes with the dataset where no model is chosen, else "".

    Raises InputError where there is no such dataset.
    """
    folder = (project.folder / str(values["dataset_dir"])).resolve()
    names = [registry.look_up(folder, each.name)[0] for each in dataset_choices(values["dataset"])]
    entries = {} if "model" in values else registry.converted_entries(folder, names)
    return next((entry.preset for entry in entries.values() if entry.preset), "")


def _as_list(dataset: Any) -> list[str]:
    """Return datasets as a list of texts, [] for none; raises UsageError for anything but a text or a list of them."""
    texts = [dataset or ""] if dataset is None or isinstance(dataset, str) else dataset
    if not isinstance(texts, list | tuple) or not all(isinstance(each, str) for each in texts):
        raise UsageError(_("`dataset` is a name or a list of names; got `{value}`").format(value=dataset))
    return [each.text for each in dataset_choices(texts)]


def given_options(project: Project, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that have a value, with paths relative to the project's folder, not to the current one."""
    given = {key: value for key, value in options.items() if value not in (None, {}, ())}
    for key in given.keys() & {"model", "dataset_dir", "deepspeed", "chat_template"}:
        if isinstance(given[key], os.PathLike):
            given[key] = os.fspath(given[key])
        path = Path(str(given[key])).expanduser()
        if key == "dataset_dir" or path.exists():
            path = Path(os.path.normpath(path.absolute()))
            given[key] = str(path.relative_to(project.folder) if path.is_relative_to(project.folder) else path)
    if "deepspeed" in given:
        given["deepspeed"] = deepspeed_name(str(given["deepspeed"]))
    return _with_set_as_text(given)


def _with_set_as_text(values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with those of `set` as JSON texts: YAML has read numbers already, and Python has them."""
    if isinstance(extra := values.get("set"), Mapping):
        texts = {key: msgspec.json.encode(value).decode() for key, value in extra.items() if not isinstance(value, str)}
        return values | {"set": {**extra, **texts}}
    return values


def ask_about_values(spec: TrainSpec) -> None:
    """Raise QuestionError for a learning rate that no training with `--optimizer adamw` and its like survives."""
    if spec.learning_rate < HIGHEST_RATE or spec.optimizer == "sgd":
        return
    digits = f"{spec.learning_rate:e}".partition("e")[0].rstrip("0").rstrip(".")
    likely = [f"{digits}e-{power}" for power in (5, 4)]
    answers = {rate: ["--learning-rate", rate] for rate in likely}
    reason = _("a learning rate of {rate} is too high to learn anything").format(rate=f"{spec.learning_rate:g}")
    raise QuestionError(reason, answers | {_("as it is"): ["--yes"]})


def check_settings(spec: TrainSpec, backend: Backend, python: Path) -> None:
    """Raise UsageError for a `--set` that the framework beside `python` does not know, where its source says so."""
    folder = next(iter(python.parent.parent.glob("lib/python3*/site-packages")), None)
    known = backend.setting_names(folder) if spec.set and folder else frozenset()
    for key in spec.set if known else ():
        if key not in known:
            reason = _("{title} has no setting `{key}` for `--set`").format(title=backend.title, key=key)
            raise UsageError(reason + nearest(key, known))
