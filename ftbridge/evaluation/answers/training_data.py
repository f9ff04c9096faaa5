"""The samples that a run was trained on, read anew from a file whose sha256 is the one in run.json."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.dataset import files_read_by
from ftbridge.adapters.registered.mixture import DATASETS, MIXED, is_mixture
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.adapters.values import BadValueError
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.records import Conversation
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import Entry, data_files, interpret_entry, target_entry
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES, is_ours
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.training.prepare import resolve_datasets


class TrainingData(NamedTuple):
    """The files of a run's training part, and the entry by which they are read."""

    entry: Entry
    files: tuple[Path, ...]

    def samples(self) -> Iterator[Conversation]:
        """Yield the samples, without those that cannot be read: the training has judged the data already."""
        for file in self.files:
            for row in entry_reader.read_rows(file):
                with suppress(BadValueError):
                    yield entry_reader.read_conversation(self.entry, row, tools=True)


def training_data(project: Project, run: Run) -> TrainingData:
    """Return what the run was trained on; raises InputError where its file is gone, or is not as it was."""
    folder = (project.folder / run.spec.dataset_dir).resolve()
    if any(name.startswith(MIXED) for name in run.datasets):
        return _mixed_data(project, run)
    name, raw = registry.look_up(folder, run.spec.datasets[0].name)
    entries = [interpret_entry(name, raw)]
    if is_ours(raw):
        written = registry.parse_entry(folder, name, raw).files
        entries += [target_entry(each, name, written[each]) for each in (CONVERSATIONS, MESSAGES) if each in written]
    for entry in entries:
        file = folder / entry.file_name
        if entry.file_name and file.exists() and digest(file) == run.datasets.get(file.name):
            return TrainingData(entry, tuple(data_files(folder, entry)))
    raise InputError(
        _("the file of `{name}` in `{folder}` is gone, or has changed since the training").format(
            name=name, folder=folder
        )
    )


def _mixed_data(project: Project, run: Run) -> TrainingData:
    """Return the mixture that a run was trained on, mixed again where it is gone; raises as `training_data`."""
    if is_mixture(run.spec.datasets):  # the last one: what is validated on may be another
        name = next(each for each in reversed(run.datasets) if each.startswith(MIXED))
        file = project.folder / DATASETS / name
        if file.is_file() and digest(file) == run.datasets[name]:
            mixed, target, _suffix = name.split(".")
            return TrainingData(target_entry(target, mixed, name), (file,))
    target = MESSAGES if run.spec.tokens == "once" else load_backend(run.spec.backend).target
    data, _validation = resolve_datasets(project, run.spec, target)
    entry, files = files_read_by(target, data)
    if digest(files[0]) not in run.datasets.values():
        raise InputError(
            _("one of `{dataset_text}` has changed since the training").format(dataset_text=run.spec.dataset_text)
        )
    return TrainingData(entry, tuple(files))
