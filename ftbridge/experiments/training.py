"""A training as part of an experiment: known by what decides its result, so that it is not done twice."""

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.registered.mixture import is_mixture
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.console import say
from ftbridge.core.errors import FtbridgeError, InterruptedRun
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import data_files, interpret_entry
from ftbridge.dataset_info.names import is_ours
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.runs.checkpoints import last_checkpoint
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.training.options import resolve_train_spec
from ftbridge.launchers.training.prepare import Prepared, prepare, validation_choices
from ftbridge.launchers.training.resume import NotOnRecordError

# Where a training's data and base lie does not decide its result: their contents do.
_PLACES = ("model", "dataset", "dataset_dir", "validation_dataset")


class PlannedTraining(msgspec.Struct, frozen=True, kw_only=True):
    """A training that is not started: its options, the sha256 of its data files, and that of the base's fingerprint."""

    spec: TrainSpec
    data: dict[str, str]
    base: str

    @property
    def options(self) -> dict[str, Any]:
        """Return the options that decide the result, but for those that name the data and the base."""
        return {name: value for name, value in msgspec.to_builtins(self.spec).items() if name not in _PLACES}

    @property
    def mixed(self) -> tuple[str, ...]:
        """Return the datasets that are mixed, with what is taken of each; () for a whole one, whose content counts."""
        return tuple(each.text for each in self.spec.datasets) if is_mixture(self.spec.datasets) else ()

    @property
    def key(self) -> str:
        """Return sixteen hexadecimal digits that are the same for all trainings that must come to the same."""
        content = [self.options, sorted(self.data.values()), self.base, *self.mixed]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def plan_training(project: Project, options: Mapping[str, Any]) -> PlannedTraining:
    """Return what `options` (the fields of TrainSpec) and the settings of `project` train; a hub's base is downloaded.

    Raises an FtbridgeError where the dataset or the base is not there, or an option is not valid.
    """
    spec = resolve_train_spec(project, options)
    folder = (project.folder / spec.dataset_dir).resolve()
    choices = (*spec.datasets, *validation_choices(folder, spec))
    data = {key: value for each in choices for key, value in data_digests(folder, each.name).items()}
    return PlannedTraining(spec=spec, data=data, base=base_digest(project, spec.model, spec.backend))


def data_digests(folder: Path, name: str) -> dict[str, str]:
    """Return the sha256 of each file of a registered dataset; raises InputError where one is not there."""
    full, raw = registry.look_up(folder, name)
    if is_ours(raw):
        files = [folder / file for file in registry.parse_entry(folder, full, raw).files.values()]
    else:
        files = data_files(folder, interpret_entry(full, raw))
    return {file.name: _digest(file, file.stat().st_mtime_ns if file.exists() else 0) for file in files}


@cache
def _digest(file: Path, _changed: int) -> str:
    return digest(file)


def base_digest(project: Project, model: str, backend: str) -> str:
    """Return what tells a base model from another, by its weights' fingerprint; raises InputError for none."""
    folder = local_model(model, lambda: interpreter(project, backend), project.folder)
    return hashlib.sha256(msgspec.json.encode(fingerprint(folder), order="sorted")).hexdigest()[:16]


def prepare_planned(planned: PlannedTraining, before: Run | None = None, *, config: Path | None = None) -> Prepared:
    """Return the training as `prepare` decides it, from the last checkpoint of `before` where it has one that fits."""
    if before and before.status in {"failed", "interrupted"} and last_checkpoint(before):
        try:
            return prepare(config, resume=before.path)
        except InterruptedRun:
            raise
        except NotOnRecordError:
            # The framework outlives a killed watcher for a moment, in which it may save, and delete what was noted.
            say(
                _(
                    "note: {id} is trained from the start: it was killed before the checkpoints that are "
                    "left were on record, as happens where they come every second (save_steps "
                    "{save_steps})"
                ).format(id=before.id, save_steps=before.spec.save_steps)
            )
        except FtbridgeError as error:
            say(
                _("note: {id} cannot go on, and is trained from the start: {error}").format(
                    id=before.id, error=first_line(error)
                )
            )
    elif before and before.status in {"failed", "interrupted"}:
        say(
            _("note: {id} left no checkpoint to go on from, and is trained from the start (see `save_steps`)").format(
                id=before.id
            )
        )
    return prepare(config, **given_options(planned.spec))


def write_interpreters(project: Project, file: Path) -> Path:
    """Write an ftbridge.yaml with the interpreters of a project, by their whole paths, and nothing else; returns it.

    They are the machine's affair; the options of a training are those of the sweep or the recipe.
    """
    import yaml

    backends = {
        name: {
            key: str(project.folder / os.path.expanduser(value))  # noqa: PTH111 - leaves `~nobody` as it is
            for key, value in msgspec.structs.asdict(each).items()
            if value
        }
        for name, each in project.settings.backends.items()
    }
    head = "# The interpreters of the project around; ftbridge writes this anew.\n"
    write_atomic(file, head + yaml.safe_dump({"backends": backends} if backends else {}, allow_unicode=True))
    return file


def given_options(spec: TrainSpec) -> dict[str, Any]:
    """Return the options of a training that are not as by default, and those that have no default."""
    return {
        field.name: value
        for field in msgspec.structs.fields(TrainSpec)
        if (value := getattr(spec, field.name)) != field.default or field.default is msgspec.NODEFAULT
    }


def first_line(error: Exception) -> str:
    """Return the line of an error's message that says what is wrong."""
    first, *more = str(error).splitlines() or [""]
    return f"{first} {more[0].strip()}" if more and first.endswith(":") else first
