"""The best checkpoint beside the last, on both frameworks; one training each has it all."""

import json
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.launchers.runs import checkpoints
from ftbridge.launchers.training.prepare import prepare
from ftbridge.weights.tensors.safetensors import write

from ...builders.runs import record_run  # noqa: TID252
from ...builders.torch_files import save_pickled  # noqa: TID252
from ...conftest import ROOT, SMALL  # noqa: TID252

BACKENDS = ["xtuner", "llamafactory"]
TRACKERS = ("tensorboard", "wandb", "swanlab")
NAME = "three"
# The rate is high, so that the loss rises after some steps, and that the best is not the last.
VALIDATED = {**SMALL, "dataset": NAME, "method": "lora", "validation_steps": 2, "save_steps": 4, "learning_rate": 0.05}


@pytest.fixture(scope="session")
def parts(project: Path) -> Path:
    """Return the project, with the sample in three parts as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        ftbridge.convert(ROOT / "dataset_info" / "samples" / "medqa.xlsx", split="6:2:2", name=NAME)
    return project


@pytest.fixture(scope="session")
def stopped(parts):
    """Return a function that trains, once for each framework, at a rate too small to move even a rounding."""
    done = {}

    def train(backend):
        if backend not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(parts)
                for key in ("WANDB_API_KEY", "SWANLAB_API_KEY"):
                    patch.delenv(key, raising=False)
                options = {**VALIDATED, "learning_rate": 1e-30, "epochs": 4, "early_stopping": 1, "track": TRACKERS}
                done[backend] = ftbridge.train(**{**options, "backend": backend})
        return done[backend]

    return train


XTUNER = ("iter_4.pth", "iter_8.pth", "iter_10.pth", "best_val_loss_iter_8.pth")


@pytest.mark.parametrize(
    ("backend", "wanted", "name"),
    [
        ("xtuner", "last", "iter_10.pth"),
        ("xtuner", "best", "best_val_loss_iter_8.pth"),
        ("xtuner", "2", "iter_8.pth"),  # four iterations a step
        ("xtuner", "2.5", "iter_10.pth"),
        ("xtuner", "iter_4", "iter_4.pth"),
        ("xtuner", "iter_4.pth", "iter_4.pth"),
        ("xtuner", "best_val_loss_iter_8", "best_val_loss_iter_8.pth"),
        ("xtuner", "runs/one/output/iter_4.pth", "iter_4.pth"),
        ("llamafactory", "last", "output"),
        ("llamafactory", "4", "checkpoint-4"),
        ("llamafactory", "checkpoint-10", "checkpoint-10"),
    ],
)
def test_checkpoint_is_found_by_last_best_step_or_path(tmp_path, monkeypatch, backend, wanted, name):
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find_checkpoint(saved(tmp_path, backend), wanted).name == name


@pytest.mark.parametrize(
    ("backend", "wanted", "message"),
    [
        ("xtuner", "8", r"`one` \(succeeded\) has no readable checkpoint `8`; there are `best_.*`, `iter_4.pth`, "),
        ("xtuner", "/elsewhere/iter_4.pth", "has no readable checkpoint `/elsewhere/iter_4.pth`; there are"),
        ("llamafactory", "best", "has no readable checkpoint `best`; a run without a validation has no best one"),
        ("llamafactory", "", "has no readable checkpoint ``; there are"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_sentence(tmp_path, backend, wanted, message):
    with pytest.raises(InputError, match=message):
        checkpoints.find_checkpoint(saved(tmp_path, backend), wanted)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def told(run, capsys, wanted="last"):
    checkpoints.warn_of_unreadable(run, checkpoints.find_checkpoint(run, wanted), best=wanted == "best")
    return capsys.readouterr().err


NO_ZIP = "it is not a complete zip file as torch writes it"


def test_unreadable_checkpoints_after_the_last_readable_one_are_named(tmp_path, capsys):
    run = saved(tmp_path, "xtuner")
    assert told(run, capsys) == ""
    cut(run.path / "output" / "iter_4.pth")  # an older one
    assert told(run, capsys) == ""
    cut(run.path / "output" / "iter_10.pth")
    (run.path / "output" / "iter_12.pth").mkdir()
    assert told(run, capsys) == (
        f"warning: `iter_10.pth` of run `one` cannot be read ({NO_ZIP}): taking `iter_8.pth`\n"
        "warning: `iter_12.pth` of run `one` cannot be read (files of it are missing): taking `iter_8.pth`\n"
    )
    (run.path / "output" / "iter_12.pth" / "mp_rank_00_model_states.pt").write_bytes(b"cut")
    assert "(`mp_rank_00_model_states.pt` is no whole zip file" in told(run, capsys)


def test_a_checkpoint_on_record_that_is_gone_is_named(tmp_path, capsys):
    noted = {f"output/{name}": "" for name in ("iter_2.pth", "iter_4.pth", "iter_8.pth", "iter_10.pth")}
    run = msgspec.structs.replace(saved(tmp_path, "xtuner"), checkpoints=noted)  # 2 was one too many
    assert told(run, capsys) == ""
    (run.path / "output" / "iter_10.pth").unlink()
    assert told(run, capsys) == "warning: `iter_10.pth` of run `one` cannot be read (it is gone): taking `iter_8.pth`\n"


@pytest.mark.parametrize("place", ["output", "output/checkpoint-10"])
def test_last_checkpoint_of_llamafactory_is_its_output_folder(tmp_path, capsys, place):
    run = saved(tmp_path, "llamafactory")
    cut(run.path / place / "adapter_model.safetensors")
    why = "cannot be read (`adapter_model.safetensors` is incomplete): taking `checkpoint-10`"
    assert told(run, capsys) == (f"warning: `output` of run `one` {why}\n" if place == "output" else "")


def test_unreadable_checkpoint_that_may_have_been_the_best_is_named(tmp_path, capsys):
    run = saved(tmp_path, "llamafactory")
    lines = [{"current_steps": step, "eval_loss": loss} for step, loss in ((4, 2.0), (10, 1.0), (6, 0.5))]
    (run.path / "output" / "trainer_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert checkpoints.best_checkpoint(run).name == "checkpoint-10"  # that of step 6 was not kept
    assert told(run, capsys, "best") == ""
    cut(run.path / "output" / "checkpoint-10" / "adapter_model.safetensors")
    assert "`checkpoint-10` of run `one` cannot be read" in told(run, capsys, "best")


def saved(folder, backend):
    """Make a run with some checkpoints."""
    made = record_run(Project.find(folder), "one", backend=backend, gradient_accumulation_steps=4)
    for name in XTUNER if backend == "xtuner" else ():
        save_pickled(made.path / "output" / name, b"N.")
    for place in ("output", "output/checkpoint-4", "output/checkpoint-10") if backend == "llamafactory" else ():
        write(made.path / place / "adapter_model.safetensors", [])
    return made


def validations(run):
    records = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record["validation_loss"] for record in records if "validation_loss" in record}


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_has_the_lowest_validation_loss_and_is_kept(parts, monkeypatch, backend):
    monkeypatch.chdir(parts)
    run = ftbridge.train(**{**VALIDATED, "backend": backend, "epochs": 2, "save_limit": 1})
    losses = validations(run)
    assert len(losses) > 2
    best = checkpoints.best_checkpoint(run)
    assert best.exists()
    number = int("".join(filter(str.isdigit, best.stem.rpartition("_")[2] or best.name)))
    assert losses[number] == min(losses.values())
    assert checkpoints.last_checkpoint(run) not in (None, best)
    adapter = ftbridge.export(run.id, checkpoint="best")
    assert adapter.name == f"adapter-{best.stem}"
    assert adapter == ftbridge.export(run.id, checkpoint=best)


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_early_stopping_ends_a_run_that_cannot_learn(stopped, backend):
    run = stopped(backend)
    assert run.status == "succeeded"
    assert max(validations(run)) < run.steps
    assert checkpoints.last_checkpoint(run)
    assert checkpoints.best_checkpoint(run)


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_trackers_hold_the_loss_without_a_network(stopped, backend):
    files = [file for file in (stopped(backend).path / "tracking").rglob("*") if file.is_file()]
    for tracker in TRACKERS:
        own = [file for file in files if tracker in file.parts]
        assert any(b"loss" in file.read_bytes() for file in own), tracker


@pytest.mark.framework
def test_early_stopping_needs_a_validation_set(in_project):
    with pytest.raises(UsageError, match="there is no dataset `medqa-validation`"):
        prepare(**{**SMALL, "dataset": "medqa", "backend": "xtuner", "early_stopping": 1})


@pytest.mark.framework
@pytest.mark.parametrize(("given", "taken"), [("auto", f"{NAME}-validation"), ("none", None), ("medqa", "medqa-train")])
def test_the_validation_set_is_found_or_named(parts, monkeypatch, given, taken):
    monkeypatch.chdir(parts)
    ready = prepare(**{**VALIDATED, "backend": "xtuner", "validation_dataset": given})
    assert (ready.plan.validation.name if ready.plan.validation else None) == taken
