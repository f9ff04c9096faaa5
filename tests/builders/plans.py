"""Trainings decided, of datasets that need not be there."""

from pathlib import Path

import msgspec

from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.templates.families import get_family

ONE, TWO = Devices("cpu", 1, "bfloat16"), Devices("cuda", 2, "float16")


def plan(samples=100, machine=ONE, deepspeed=None, backend="xtuner", **spec):
    """Return the plan of a training on so many samples."""
    return TrainPlan(
        spec=TrainSpec(backend=backend, model="base", dataset="faq", **spec),
        run=Path("/runs/faq"),
        model=Path("/base"),
        dataset="faq",
        dataset_dir=Path("/data"),
        entry=DatasetEntry(version="1", files={}, samples=samples, sources={}, columns={}),
        family=get_family("qwen2"),
        machine=machine,
        deepspeed=deepspeed,
    )


def turn(question, answer, system=""):
    """Return a turn with so many words."""
    return {"system": system, "input": "w " * question, "output": "w " * answer}


def plan_of_files(folder, samples, files, backend="xtuner", **spec):
    """Return the plan of a training on `files` of `folder`, by format."""
    planned = plan(samples, **spec)
    entry = DatasetEntry(version="1", files=files, samples=samples, sources={}, columns={})
    spec = msgspec.structs.replace(planned.spec, backend=backend)
    family = get_family("qwen2.5")
    return msgspec.structs.replace(planned, spec=spec, entry=entry, dataset_dir=folder, family=family)
