"""Runs as trainings on a registered dataset leave them, without a training."""

from pathlib import Path

import msgspec

from ftbridge.adapters.registered.mixture import resolve_choices
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.train_spec import dataset_choices

from .runs import record_run


def trained(dataset, backend="xtuner", name="one"):
    """Return a run of ours as a training on `dataset`, in the folder `data`, leaves it."""
    folder = Path("data").resolve()
    choices = dataset_choices(dataset)
    found = resolve_choices(folder, choices, load_backend(backend).target, Path("cache").resolve(), 42)
    written = found.entry.options.sha256
    digests = found.entry.sources | {found.entry.files[target]: digest for target, digest in written.items()}
    Path("runs", name).mkdir(parents=True)
    run = record_run(Project.find(), name)
    spec = msgspec.structs.replace(run.spec, dataset=dataset, backend=backend)
    several = found.entry.several_systems
    return msgspec.structs.replace(run, spec=spec, datasets=digests, several_systems=several).save()
