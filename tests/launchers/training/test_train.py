"""Trainings with the real frameworks, and how they end."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, InterruptedRun
from ftbridge.core.project import Project
from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import all_runs, load_run
from ftbridge.launchers.training.prepare import describe, prepare
from ftbridge.launchers.training.train import planned_time

from ...builders.trainings import BACKENDS  # noqa: TID252
from ...conftest import NOTEBOOK, SECRET, SMALL  # noqa: TID252


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_records_a_run_with_its_data_and_base(trained, backend):
    run = trained(backend=backend)
    assert run.status == "succeeded"
    assert run.attempts[-1].exit_code == 0
    assert load_run(run.path) == run
    assert run.steps == 6  # 21 samples in batches of 4
    metrics = [msgspec.json.decode(line) for line in (run.path / "metrics.jsonl").read_bytes().splitlines()]
    assert [set(record) for record in metrics] == [{"step", "loss", "learning_rate", "time", "attempt"}] * len(metrics)
    assert metrics[-1]["step"] == 6
    assert max(record["learning_rate"] for record in metrics) > 0.9 * SMALL["learning_rate"]  # warm-up ends
    assert run.environment == "transformers5"
    assert run.versions["transformers"] == pinned("transformers5")["transformers"]
    name = "medqa-train.messages.jsonl"
    data = run.path.parents[1] / "data" / name
    assert set(run.datasets) == {name, "medqa.xlsx"}
    assert run.datasets[name] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert run.base == fingerprint(Path(run.model))
    assert 0 < run.trained_parameters < run.parameters
    if backend == "llamafactory":  # which says how many it trains
        counts = run.trained_parameters, run.parameters
        assert "trainable params: {:,} || all params: {:,}".format(*counts) in (run.path / "log.txt").read_text()


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", pytest.param("llamafactory", marks=pytest.mark.matrix)])
def test_a_constant_rate_takes_as_few_steps_as_there_are_and_a_notebooks_variables_do_no_harm(
    trained, monkeypatch, backend
):
    monkeypatch.setenv("MPLBACKEND", NOTEBOOK)
    run = trained(backend=backend, scheduler="constant", max_steps=2)
    metrics = [msgspec.json.decode(line) for line in (run.path / "metrics.jsonl").read_bytes().splitlines()]
    assert (run.status, metrics[-1]["step"]) == ("succeeded", 2)
    assert metrics[-1]["learning_rate"] == pytest.approx(SMALL["learning_rate"])


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", pytest.param("llamafactory", marks=pytest.mark.matrix)])
def test_a_dataset_that_is_not_ours_trains(in_project, backend):
    folder = in_project / "llama factory's"
    folder.mkdir(exist_ok=True)
    (folder / "dataset_info.json").write_text('{ "chats":{"file_name":"chats.json", "formatting":"sharegpt"} }')
    said = [{"from": "human", "value": "What is aspirin for?"}, {"from": "gpt", "value": "Pain."}]
    (folder / "chats.json").write_text(json.dumps([{"conversations": said * 2}] * 5))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    run = ftbridge.train(**{**SMALL, "dataset": "chats", "dataset_dir": str(folder), "backend": backend})
    assert (run.status, run.samples, run.steps) == ("succeeded", 5, 2)
    assert run.datasets["chats.json"] == hashlib.sha256(before["chats.json"]).hexdigest()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_key_from_the_environment_is_written(trained, backend):
    run = trained(backend=backend)
    files = [file for file in run.path.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", pytest.param("llamafactory", marks=pytest.mark.matrix)])
def test_two_processes_share_the_work_under_zero2(in_project, recorder, monkeypatch, backend):
    monkeypatch.setenv("RECORD", str(recorder))
    run = ftbridge.train(**{**SMALL, "dataset": "medqa", "backend": backend, "gpus": 2})
    ranks = [json.loads((recorder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["world_size"] for rank in ranks] == [2, 2]
    assert all(rank["modules_4bit"] == 14 for rank in ranks)  # seven linear layers in each of two blocks
    first, second = (set(rank["samples"]) for rank in ranks)
    # 21 samples on two ranks: XTuner repeats one; LLaMA-Factory repeats three to fill the last of its batches.
    assert len(first & second) <= 3
    assert len(first | second) == 21
    shards = {file.name for file in run.path.rglob("*optim_states.pt")}
    assert {name.partition("zero_pp_rank_")[2][0] for name in shards} == {"0", "1"}


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_every_combination_trains_merges_and_answers(trained, in_project, backend, method, gpus):
    run = trained(backend=backend, method=method, gpus=gpus)
    assert run.status == "succeeded"
    merged = ftbridge.merge(run.id)
    assert (merged / "config.json").is_file()


@pytest.mark.framework
def test_a_dry_run_says_how_long_it_takes_by_an_earlier_run(trained, in_project):
    run = trained(backend="llamafactory")
    ready = prepare(**SMALL, dataset="medqa", backend="llamafactory")
    assert re.fullmatch(rf"about \d+ s, going by run {re.escape(run.id)}", planned_time(ready))
    assert dict(describe(ready, time="about 9 s"))["time"] == "about 9 s"


@pytest.mark.framework
def test_a_value_that_the_framework_refuses_fails_with_the_log(in_project):
    with pytest.raises(FrameworkError, match="no_such_schedule"):
        ftbridge.train(
            **{**SMALL, "dataset": "medqa", "backend": "llamafactory", "set": {"lr_scheduler_type": "no_such_schedule"}}
        )
    assert all_runs(Project.find())[-1].status == "failed"


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_a_model_with_code_of_its_own_names_the_option(in_project, tmp_path, backend):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('code of the model ran')")
    options = {**SMALL, "dataset": "medqa", "backend": backend, "model": str(tmp_path)}
    options |= {"template": "qwen2.5", "tokens": "native"}
    with pytest.raises(InputError, match="--trust-remote-code"):
        ftbridge.train(**options)
    with pytest.raises(FrameworkError, match="--trust-remote-code"):
        ftbridge.train(**options, preflight=False)


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("deepspeed", ["zero1", "zero2", "zero2-offload", "zero3", "zero3-offload"])
def test_every_deepspeed_config_trains_on_two_processes(trained, backend, deepspeed):
    run = trained(backend=backend, gpus=2, deepspeed=deepspeed, max_steps=2)
    assert (run.status, run.steps) == ("succeeded", 2)
    assert msgspec.json.decode((run.path / "metrics.jsonl").read_bytes().splitlines()[-1])["step"] == 2
    optimizers = {file.name for file in run.path.rglob("*optim_states.pt")}
    assert len({name.partition("zero_pp_rank_")[2][0] for name in optimizers}) == 2


@pytest.mark.framework
@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_samples_train_and_warm_up(trained, backend):
    run = trained(backend=backend, packing=True, cutoff_length=256, micro_batch_size=1)
    metrics = [msgspec.json.decode(line) for line in (run.path / "metrics.jsonl").read_bytes().splitlines()]
    rates = [record["learning_rate"] for record in metrics]
    assert max(rates) > 0.5 * SMALL["learning_rate"]
    assert rates[-1] < 0.5 * max(rates)


def test_interrupted_run_has_exit_code_130():
    assert InterruptedRun.exit_code == 130


@pytest.mark.framework
def test_torchrun_takes_no_torch_of_the_folder_that_it_runs_in(training_python, tmp_path):
    (tmp_path / "torch.py").write_text("print('theirs')")
    launcher = SCRIPTS / "distributed.py"
    done = subprocess.run([training_python, launcher, "--help"], cwd=tmp_path, capture_output=True, check=True)
    assert b"--nproc-per-node" in done.stdout
    assert b"theirs" not in done.stdout
