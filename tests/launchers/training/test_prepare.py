"""Trainings decided and not started: what they are planned with, what `--dry-run` shows, and what builds alone."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.train_spec import defaults
from ftbridge.launchers.training.prepare import build_only, dataset_hashes, describe, prepare
from ftbridge.launchers.training.train import preflight

from ...builders.trainings import BACKENDS, train_command  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_edited_dataset_is_planned_and_recorded_as_it_is(in_project, tmp_path, backend, capsys):
    shutil.copytree(in_project / "data", tmp_path / "data")
    options = {**SMALL, "dataset": "medqa", "dataset_dir": str(tmp_path / "data"), "backend": backend}
    options |= {"validation_dataset": "medqa-test", "tokens": "native"}
    as_converted = prepare(**options).plan
    for part in ("train", "test"):
        file = tmp_path / "data" / f"medqa-{part}.{'xtuner' if backend == 'xtuner' else 'alpaca'}.jsonl"
        lines = file.read_text("utf-8").splitlines()[:-1]
        file.write_text("\n".join(lines) + "\n", "utf-8")
    ready = prepare(**options)
    assert (as_converted.entry.samples, as_converted.steps) == (21, 6)
    assert (ready.plan.entry.samples, ready.plan.steps) == (20, 5)
    found = {check.name: check for check in preflight(ready) if check.status == "warning"}
    for name, count in (("dataset", "20 samples, and 21"), ("validation dataset", f"{len(lines)} samples")):
        assert f"has been changed since ftbridge wrote it: it holds {count}" in found[name].found
    assert dataset_hashes(ready.plan)[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    train = file.with_name(file.name.replace("test", "train"))
    assert dataset_hashes(ready.plan)[train.name] == hashlib.sha256(train.read_bytes()).hexdigest()
    train.write_text(train.read_text("utf-8") + "{broken\n", "utf-8")
    with pytest.raises(InputError, match="1 of 21 records of the dataset `medqa-train`"):
        prepare(**options)


@pytest.mark.framework
def test_an_edit_is_trained_on_where_tokens_are_made_of_it_and_told_where_they_are_not(in_project, tmp_path):
    shutil.copytree(in_project / "data", tmp_path / "data")
    options = {**SMALL, "dataset": "medqa", "dataset_dir": str(tmp_path / "data"), "backend": "xtuner"}
    file, other = (tmp_path / "data" / f"medqa-train.{name}.jsonl" for name in ("messages", "alpaca"))
    for edited in (file, other):
        edited.write_text("".join(edited.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    os.utime(other, (time.time() + 60,) * 2)
    ready = prepare(**options)
    assert (ready.plan.entry.samples, ready.plan.tokens.counts.samples) == (20, 20)
    (found,) = [check.found for check in preflight(ready) if check.status == "warning" and check.name == "dataset"]
    assert f"`{file.name}` has been changed since ftbridge wrote it: it holds 20 samples, and 21" in found
    assert f"`{other.name}` has been changed since ftbridge wrote it, and is not read for `--tokens once`" in found


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_defaults_are_the_same_on_both_backends_and_only_changes_are_described(in_project, backend):
    ready = prepare(backend=backend, model="base", dataset="medqa", device="cpu")
    for name, value in defaults().items():
        assert name == "device" or getattr(ready.plan.spec, name) == value
    assert dict(describe(ready))["options"] == "--device cpu (default: auto)"
    accumulation = ready.plan.spec.gradient_accumulation_steps
    checkpoint = f"iter_{4 * accumulation}.pth" if ready.plan.spec.backend == "xtuner" else "checkpoint-4"
    goes_on = msgspec.structs.replace(ready, plan=msgspec.structs.replace(ready.plan, resume=Path(checkpoint)))
    assert ("", "goes on from step 4") in describe(goes_on)


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_build_only_builds_everything_and_leaves_nothing(in_project, run_ftbridge, tmp_path, backend):
    before = sorted(path for path in in_project.rglob("*") if ".ftbridge" not in path.parts)
    option = {"xtuner": "model.lora.no_such_option=1", "llamafactory": "optim=no_such_optimizer"}
    wrong = [*train_command(backend), "--build-only", "--set", option[backend]]
    done = run_ftbridge(*wrong, cwd=in_project, TMPDIR=str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert "no_such_opti" in done.stderr
    assert "optimizer steps" in done.stdout
    right = [*train_command(backend), "--build-only", "--gpus", "2", "--packing"]
    done = run_ftbridge(*right, cwd=in_project, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "builds all that the config names" in done.stderr
    assert sorted(path for path in in_project.rglob("*") if ".ftbridge" not in path.parts) == before
    assert not list(tmp_path.glob("ftbridge-check-*"))


@pytest.mark.framework
@pytest.mark.parametrize("tokens", ["once", "native"])
def test_several_datasets_are_planned_as_one_the_same_for_both_backends(in_project, tmp_path, tokens, capsys):
    shutil.copytree(in_project / "data", tmp_path / "data")
    options = {**SMALL, "dataset": ["medqa#6", "medqa-test"], "dataset_dir": str(tmp_path / "data"), "tokens": tokens}
    samples = {}
    for backend in BACKENDS:
        ready = prepare(**options, backend=backend)
        assert [(part.name, part.samples, part.total) for part in ready.plan.parts] == [
            ("medqa-train", 6, 21),
            ("medqa-test", 9, 9),
        ]
        assert (ready.plan.entry.samples, ready.plan.samples) == (15, 15)
        shown = describe(ready)
        assert ("dataset", "medqa-train, 6 of 21 samples") in shown
        assert ("", "together 15 samples, mixed by the seed 42") in shown
        assert ready.plan.run.name.endswith(f"-{backend}-medqa-train-6+medqa-test")
        assert not [check for check in preflight(ready) if check.status == "failure"]
        samples[backend] = ready.plan.steps
        (name,) = {name for name in dataset_hashes(ready.plan) if name.startswith("mixed-")}
        assert (in_project / ".ftbridge" / "datasets" / name).is_file()
    assert len({*samples.values()}) == 1


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tokens", ["once", "native"])
def test_a_framework_loads_several_datasets(in_project, backend, tokens):
    options = {**SMALL, "dataset": "medqa#6,medqa-test", "validation_dataset": "medqa-test", "tokens": tokens}
    build_only(prepare(**options, backend=backend))
