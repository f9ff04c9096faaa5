"""Trainings with the real frameworks, and how they end."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, InterruptedRun, UsageError
from ftbridge.core.project import Project
from ftbridge.core.train_spec import defaults
from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import all_runs, load_run
from ftbridge.launchers.training.prepare import _datasets as recorded
from ftbridge.launchers.training.prepare import describe, prepare
from ftbridge.launchers.training.train import preflight

from ...builders import recorded_runs  # noqa: TID252
from ...conftest import NOTEBOOK, SECRET, SMALL  # noqa: TID252

BACKENDS = ["xtuner", "llamafactory"]


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).with_name("recorder.py"), tmp_path / "sitecustomize.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def own_mounts():
    """Return the words before a command that may mount what it wants; skips where the kernel does not allow that."""
    words = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    return words


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_a_training_that_fills_the_disk_is_on_record_and_goes_on_once_there_is_room(tmp_path, own_mounts, kind):
    program = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [*own_mounts, sys.executable, program, tmp_path, kind],
        env={**os.environ, "PYTHONPATH": str(Path(recorded_runs.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, *rest = json.loads(done.stdout)
    assert said.startswith("XTuner ended with exit status 1: the disk is full")
    assert rest == [5, "failed", False, ["output/iter_3.pth"], [], "iter_3.pth"]


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_leaves_an_honest_run(trained, backend):
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
    name = f"medqa-train.{'xtuner' if backend == 'xtuner' else 'alpaca'}.jsonl"
    data = run.path.parents[1] / "data" / name
    entry = {"dataset_info.json: medqa-train"} if backend == "llamafactory" else set()
    assert set(run.datasets) == {name, "medqa.xlsx"} | entry
    assert run.datasets[name] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert run.base == fingerprint(Path(run.model))


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_edited_dataset_is_planned_and_recorded_as_it_is(in_project, tmp_path, backend, capsys):
    shutil.copytree(in_project / "data", tmp_path / "data")
    options = {**SMALL, "dataset": "medqa", "dataset_dir": str(tmp_path / "data"), "backend": backend}
    options |= {"validation_dataset": "medqa-test"}
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
    assert recorded(ready.plan)[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    train = file.with_name(file.name.replace("test", "train"))
    assert recorded(ready.plan)[train.name] == hashlib.sha256(train.read_bytes()).hexdigest()
    train.write_text(train.read_text("utf-8") + "{broken\n", "utf-8")
    with pytest.raises(InputError, match="1 of 21 records of the dataset `medqa-train`"):
        prepare(**options)


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
def test_unknown_option_of_the_framework_fails_with_the_log(in_project):
    with pytest.raises(FrameworkError, match="no_such_option"):
        ftbridge.train(**{**SMALL, "dataset": "medqa", "backend": "llamafactory", "set": {"no_such_option": "1"}})
    assert all_runs(Project.find())[-1].status == "failed"


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["xtuner", pytest.param("llamafactory", marks=pytest.mark.matrix)])
def test_crash_in_the_middle_is_a_failure(in_project, recorder, monkeypatch, run_ftbridge, backend):
    done = run_ftbridge(*_command(backend), cwd=in_project, CRASH_AT="4")
    assert done.returncode == 5, done.stderr
    assert "made to crash" in done.stderr
    run = all_runs(Project.find())[-1]
    assert (run.status, run.attempts[-1].exit_code) == ("failed", 1)


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_killed_rank_is_a_failure(in_project, backend):
    before = set((in_project / "runs").glob("*"))
    options = [*_command(backend), "--gpus", "2", "--save-steps", "1", "--epochs", "5000"]
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE, text=True)
    folder = _wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
    _wait_for(lambda: list(folder.glob("output/iter_*.pth")) or list(folder.glob("output/checkpoint-*")))
    os.kill(_rank(folder, "1"), signal.SIGKILL)
    _, messages = child.communicate(timeout=600)
    assert child.returncode == 5, messages
    assert "a process of the training was killed" in messages
    assert load_run(folder).status == "failed"
    assert _processes(folder) == []


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_a_model_with_code_of_its_own_names_the_option(in_project, tmp_path, backend):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('code of the model ran')")
    options = {**SMALL, "dataset": "medqa", "backend": backend, "model": str(tmp_path), "template": "qwen2.5"}
    with pytest.raises(InputError, match="--trust-remote-code"):
        ftbridge.train(**options)
    with pytest.raises(FrameworkError, match="--trust-remote-code"):
        ftbridge.train(**options, preflight=False)


@pytest.mark.framework
def test_interrupt_stops_the_children_and_marks_the_run(in_project):
    before = set((in_project / "runs").glob("*"))
    options = _command("xtuner")
    child = subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE, text=True)
    folder = _wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
    _wait_for(lambda: _processes(folder))
    child.send_signal(signal.SIGINT)
    _, messages = child.communicate(timeout=600)
    assert child.returncode == 130, messages
    assert load_run(folder).status == "interrupted"
    assert _processes(folder) == []


@pytest.mark.framework
@pytest.mark.parametrize("backend", ["llamafactory", pytest.param("xtuner", marks=pytest.mark.matrix)])
def test_nothing_outlives_a_killed_ftbridge(in_project, run_ftbridge, backend):
    before = set((in_project / "runs").glob("*"))
    options = [*_command(backend), "--gpus=2", "--epochs=5000"]
    with subprocess.Popen([sys.executable, "-m", "ftbridge", *options], stderr=subprocess.PIPE) as child:
        folder = _wait_for(lambda: set((in_project / "runs").glob("*")) - before).pop()
        _wait_for((folder / "metrics.jsonl").exists)
        assert len(_processes(folder)) >= 4  # the guard, torchrun, and two workers in sessions of their own
        child.kill()
    _wait_for(lambda: not _processes(folder))
    listed = json.loads(run_ftbridge("runs", "list", "--json", cwd=in_project).stdout)
    assert [each["status"] for each in listed if each["id"] == folder.name] == ["died"]


def test_missing_things_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {sys.executable}}}}}")
    with pytest.raises(UsageError, match="--backend"):
        ftbridge.train()
    with pytest.raises(UsageError, match="convert one first"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no dataset `medqa`"):
        ftbridge.train(backend="xtuner", dataset="medqa", model=str(tmp_path))
    with pytest.raises(UsageError, match="no backend `axolotl`"):
        ftbridge.train(backend="axolotl", dataset="medqa", model=str(tmp_path))
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    with pytest.raises(UsageError, match="--model"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no model folder"):
        ftbridge.train(backend="xtuner", model="./nowhere")


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_defaults_are_the_same_on_both_and_only_what_differs_is_described(in_project, backend):
    ready = prepare(backend=backend, model="base", dataset="medqa", device="cpu")
    for name, value in defaults().items():
        assert name == "device" or getattr(ready.plan.spec, name) == value
    assert dict(describe(ready))["options"] == "--device cpu (default: auto)"


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_builds_all_and_leaves_nothing(in_project, run_ftbridge, tmp_path, backend):
    before = sorted(in_project.rglob("*"))
    option = {"xtuner": "model.lora.no_such_option=1", "llamafactory": "no_such_option=1"}
    wrong = [*_command(backend), "--build-only", "--set", option[backend]]
    done = run_ftbridge(*wrong, cwd=in_project, TMPDIR=str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert "no_such_option" in done.stderr
    assert "optimiser steps" in done.stdout
    right = [*_command(backend), "--build-only", "--gpus", "2", "--packing"]
    done = run_ftbridge(*right, cwd=in_project, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "builds all that the config names" in done.stderr
    assert sorted(in_project.rglob("*")) == before
    assert not list(tmp_path.glob("ftbridge-check-*"))


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


def test_interrupted_is_130():
    assert InterruptedRun.exit_code == 130


def _command(backend):
    options = {**SMALL, "dataset": "medqa", "backend": backend}
    return ["train", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())]


def _wait_for(ready):
    end = time.monotonic() + 600  # which only a failure waits for, or a very slow machine
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.2)
    raise TimeoutError


def _processes(folder):
    """Return the processes that were started for the run in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder / "launch.json").encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _rank(folder, rank):
    for process in _processes(folder):
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
            return process
    raise LookupError(rank)


@pytest.mark.framework
def test_torchrun_takes_no_torch_of_the_folder_that_it_runs_in(training_python, tmp_path):
    (tmp_path / "torch.py").write_text("print('theirs')")
    launcher = SCRIPTS / "distributed.py"
    done = subprocess.run([training_python, launcher, "--help"], cwd=tmp_path, capture_output=True, check=True)
    assert b"--nproc-per-node" in done.stdout
    assert b"theirs" not in done.stdout
