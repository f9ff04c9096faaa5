"""The datasets in dataset_info.json, ours and others: what `ftbridge datasets` does, in Python.

Each function is called as its command. `dataset_dir` is the folder with dataset_info.json: by default the last
conversion's, else `data`, as `train` finds it. All raise InputError where the file is damaged.
"""

import builtins
import os
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.registered.check import CheckResult, check_datasets
from ftbridge.adapters.registered.dataset import whole_entry
from ftbridge.adapters.registered.validate import first_samples
from ftbridge.core.console.notebook import Listing
from ftbridge.core.project import Project
from ftbridge.core.records import Conversation
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.listing import DatasetSummary, summaries
from ftbridge.dataset_info.registry import Removed

__all__ = ["check", "folder", "list", "remove", "show"]


class DatasetDetails(msgspec.Struct, frozen=True):
    """A dataset in full: its name, its entry in dataset_info.json as it stands, and its first samples.

    `notes` say which of its files do not have all samples.
    """

    name: str
    entry: Any
    samples: builtins.list[Conversation]
    notes: builtins.list[str] = []


def folder(dataset_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of datasets that is meant."""
    if dataset_dir:
        return Path(dataset_dir).absolute()
    project = Project.find()
    return project.folder / str(project.settings.train.get("dataset_dir") or project.state().dataset_dir or "data")


def list(  # noqa: A001 - called as the command, and always after a dot
    *, dataset_dir: str | os.PathLike[str] | None = None
) -> builtins.list[DatasetSummary]:
    """Return a line for each registered dataset, in the file's order."""
    return Listing(summaries(folder(dataset_dir)))


def show(name: str, *, samples: int = 1, dataset_dir: str | os.PathLike[str] | None = None) -> DatasetDetails:
    """Return what is known of a dataset, and its first `samples`.

    Raises InputError for an unknown name, and where samples that are asked for cannot be read.
    """
    where = folder(dataset_dir)
    full, entry = registry.look_up(where, name)
    read, notes = whole_entry(where, full, entry)
    return DatasetDetails(full, entry, first_samples(where, read, samples) if samples else [], notes)


def check(*names: str, dataset_dir: str | os.PathLike[str] | None = None) -> builtins.list[CheckResult]:
    """Return for each dataset of these names, or for all, whether each backend would load it whole."""
    return check_datasets(folder(dataset_dir), names)


def remove(*names: str, edits: bool = False, dataset_dir: str | os.PathLike[str] | None = None) -> Removed:
    """Remove datasets with their files, and return what went: all parts of a name, or the one part that is called so.

    Of a dataset that ftbridge did not make, only the entry goes. Raises QuestionError for a file that was changed since
    it was converted, unless `edits` go as well.
    """
    return registry.remove(folder(dataset_dir), names, edits=edits)
