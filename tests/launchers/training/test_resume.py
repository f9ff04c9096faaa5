"""Resumed trainings: the same losses as unbroken ones, and only from checkpoints that are whole and ours."""

import re
import shutil
import zipfile
from pathlib import Path

import msgspec
import pytest
import yaml

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, SetupError, UsageError
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.venv import LOCK_NAMES, default_folder
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.process.identity import Host
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import all_runs, load_run
from ftbridge.launchers.training import resume
from ftbridge.templates.families import get_family

from ...builders.environments import make_environment  # noqa: TID252
from ...builders.runs import record_run  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252

XTUNER, LLAMAFACTORY = BACKENDS = ["xtuner", "llamafactory"]


def losses(run):
    """Return the loss of each step; the last one counts where a step was taken twice."""
    records = map(msgspec.json.decode, (run.path / "metrics.jsonl").read_bytes().splitlines())
    return {record["step"]: record["loss"] for record in records}


@pytest.mark.matrix
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_resumed_run_goes_on_with_the_losses_of_an_unbroken_one(in_project, tmp_path, monkeypatch, backend, gpus):
    options = {**SMALL, "dataset": "medqa", "backend": backend, "gpus": gpus, "lora_dropout": 0.0}
    options |= {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 2 * gpus}
    unbroken = ftbridge.train(**options)
    shutil.copy(Path(__file__).with_name("recorder.py"), tmp_path / "sitecustomize.py")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        patch.setenv("CRASH_AT", "8")  # step 6 is saved, one micro batch into the second epoch
        patch.setenv("KILL", "1")
        with pytest.raises(FrameworkError):
            ftbridge.train(**options)
    killed = all_runs(Project.find())[-1]
    before = losses(killed)
    assert 7 <= max(before) < 8  # XTuner logs each micro batch
    assert killed.status == "failed"

    run = ftbridge.train(resume="auto")
    assert (run.id, run.status, len(run.attempts)) == (killed.id, "succeeded", 2)
    whole = losses(unbroken)
    assert losses(run) == pytest.approx(whole, abs=1e-3)
    assert before == pytest.approx({step: whole[step] for step in before}, abs=1e-3)
    assert len({round(loss, 3) for loss in whole.values()}) > 6  # the losses do tell the steps apart


@pytest.fixture
def place(tmp_path):
    return Project(tmp_path, Settings())


def stopped(place, name="one", backend=XTUNER, status="failed", processes=1):
    """Save and return a run called `name` that has stopped."""
    argv = ("python", f"--nproc-per-node={processes}")
    return record_run(place, name, status, steps=9, argv=argv, backend=backend, lora_rank=8, save_steps=3)


def packed(file, content="weights"):
    """Write a zip, as torch.save does, and return its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", content)
    return file


def saved(run, step):
    """Write a checkpoint of `run` as its framework does, and return its path."""
    if run.spec.backend == XTUNER:
        return packed(run.path / "output" / f"iter_{step}.pth", f"weights of {step}")
    folder = run.path / "output" / f"checkpoint-{step}"
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        packed(folder / name)
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    return folder


def watched(place, *steps, **options):
    """Return a run that saved its checkpoints while it was watched."""
    run = stopped(place, **options)
    ledger = resume.CheckpointLedger(run, load_backend(run.spec.backend))
    for step in steps:
        saved(run, step)
    return ledger.update(ended=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_newest_checkpoint_of_the_newest_stopped_run_is_taken(place, backend):
    run = watched(place, 3, 6, backend=backend)
    stopped(place, "two")  # without a checkpoint
    stopped(place, "three", status="succeeded")
    source = resume.find_resume_point(place, "auto", {}, trusted=False)
    assert (source.run.id, "6" in source.checkpoint.name) == ("one", True)
    older = next(path for path in run.path.glob("output/*3*"))
    assert resume.find_resume_point(place, "one", {}, trusted=False) == source
    assert resume.find_resume_point(place, str(run.path), {}, trusted=False) == source
    assert resume.find_resume_point(place, str(older), {}, trusted=False).checkpoint == older


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        (XTUNER, "iter_6.pth"),
        (LLAMAFACTORY, "checkpoint-6/optimizer.pt"),
        (LLAMAFACTORY, "checkpoint-6/rng_state.pth"),
        (LLAMAFACTORY, "checkpoint-6/trainer_state.json"),
        (LLAMAFACTORY, "checkpoint-6/adapter_model.safetensors"),
    ],
)
def test_a_half_written_checkpoint_is_passed_over(place, backend, file):
    run = watched(place, 3, 6, backend=backend)
    whole = run.path / "output" / file
    whole.write_bytes(whole.read_bytes()[:-8])
    assert "3" in resume.find_resume_point(place, "auto", {}, trusted=False).checkpoint.name
    with pytest.raises(InputError, match="is not a complete checkpoint of run `one`"):
        resume.find_resume_point(place, str(run.path / "output" / Path(file).parts[0]), {}, trusted=False)


def test_deepspeed_checkpoint_needs_the_part_of_every_process(place):
    run = stopped(place, processes=2)
    folder = run.path / "output" / "iter_6.pth"
    packed(folder / "mp_rank_00_model_states.pt")
    packed(folder / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with pytest.raises(InputError, match="nothing to resume"):
        resume.find_resume_point(place, "auto", {}, trusted=True)
    packed(folder / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt")
    assert resume.find_resume_point(place, "auto", {}, trusted=True).checkpoint == folder


@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpoint_that_is_not_on_record_needs_trust(place, backend, capsys):
    run = watched(place, 3, backend=backend)
    newer = saved(run, 6)  # nobody watched
    assert "3" in resume.find_resume_point(place, "one", {}, trusted=False).checkpoint.name
    assert "is not on record" in capsys.readouterr().err
    assert resume.find_resume_point(place, "one", {}, trusted=True).checkpoint == newer
    with pytest.raises(InputError, match=r"not on record .* `--trust-checkpoint`"):
        resume.find_resume_point(place, str(newer), {}, trusted=False)
    noted = next(path for path in run.path.glob("output/*3*"))
    packed(noted if noted.is_file() else noted / "optimizer.pt", "another's")
    with pytest.raises(InputError, match=r"has changed since .* `--trust-checkpoint`"):
        resume.find_resume_point(place, "one", {}, trusted=False)


def test_going_on_does_not_put_a_strangers_checkpoint_on_record(place):
    run = watched(place, 3)
    saved(run, 6)
    ledger = resume.CheckpointLedger(run, load_backend(XTUNER))
    assert ledger.update(ended=True).checkpoints == run.checkpoints
    packed(run.path / "output" / "iter_6.pth", "written again by the training")
    assert set(ledger.update(ended=True).checkpoints) == {"output/iter_3.pth", "output/iter_6.pth"}


@pytest.mark.parametrize("how", ["owner", "link"])
def test_checkpoint_put_there_by_somebody_else_does_not_go_on_record(place, how):
    run = stopped(place)
    ledger = resume.CheckpointLedger(run, load_backend(XTUNER))
    file = saved(run, 3)
    if how == "owner":
        ledger._owner += 1
    else:
        file.rename(place.folder / "elsewhere.pth")
        file.symlink_to(place.folder / "elsewhere.pth")
    assert ledger.update(ended=True).checkpoints == {}


def test_a_checkpoint_is_noted_once_it_no_longer_changes_and_forgotten_with_its_file(place):
    run = stopped(place)
    ledger = resume.CheckpointLedger(run, load_backend(XTUNER))
    file = saved(run, 3)
    assert ledger.update().checkpoints == {}
    packed(file, "more")
    assert ledger.update().checkpoints == {}
    assert ledger.update().checkpoints == {"output/iter_3.pth": resume.checkpoint_sha256(file)}
    assert load_run(run.path).checkpoints == ledger.run.checkpoints
    file.unlink()
    assert ledger.update().checkpoints == {}


@pytest.mark.parametrize(("status", "message"), [("running", "still running"), ("succeeded", "has succeeded")])
def test_a_run_that_goes_on_or_is_done_is_refused(place, status, message):
    watched(place, 3, status=status)
    with pytest.raises(UsageError, match=message):
        resume.find_resume_point(place, "one", {}, trusted=True)
    with pytest.raises(InputError, match="nothing to resume"):
        resume.find_resume_point(place, "auto", {}, trusted=True)


def test_a_run_that_may_go_on_elsewhere_is_refused_with_what_to_do(place):
    run = watched(place, 3, status="running")
    msgspec.structs.replace(run, machine=Host("else 1234", "a", "b")).save()
    for wanted in ("one", "auto"):
        with pytest.raises(UsageError, match=r"on `else`.*`ftbridge runs stop one --mark-failed`"):
            resume.find_resume_point(place, wanted, {}, trusted=False)


def test_run_that_is_being_resumed_is_not_resumed_twice(place):
    run = watched(place, 3)
    again = msgspec.structs.replace(run, status="running")
    assert len(resume.claim_run(run, again).attempts) == 2
    with pytest.raises(UsageError, match="still running"):
        resume.claim_run(run, again)


def test_option_that_differs_from_the_resumed_run_is_refused(place):
    watched(place, 3)
    assert resume.find_resume_point(place, "one", {"lora_rank": 8, "backend": XTUNER}, trusted=False)
    with pytest.raises(UsageError, match=r"`--lora-rank 16` is not what run `one` has \(`8`\)"):
        resume.find_resume_point(place, "one", {"lora_rank": 16}, trusted=False)
    with pytest.raises(UsageError, match=r"`--epochs 99` is not what run"):
        resume.find_resume_point(place, "one", {"epochs": 99.0}, trusted=False)
    with pytest.raises(UsageError, match="epochs"):
        resume.find_resume_point(place, "one", {"epochs": -1}, trusted=False)


@pytest.mark.parametrize("processes", ["many", "-1", "9" * 5000, ""])
def test_a_record_with_no_number_of_processes_is_read_as_of_one(place, processes):
    run = watched(place, 3, processes=processes)
    assert resume.find_resume_point(place, run.id, {}, trusted=False).checkpoint.name == "iter_3.pth"


def test_missing_run_or_checkpoint_to_resume_is_a_sentence(place):
    with pytest.raises(InputError, match="no run or folder `none`"):
        resume.find_resume_point(place, "none", {}, trusted=False)
    stopped(place)
    with pytest.raises(InputError, match=r"stopped before it had saved a checkpoint \(`--save-steps 3`\)"):
        resume.find_resume_point(place, "one", {}, trusted=False)


def test_a_checkpoint_from_elsewhere_needs_trust(place, tmp_path):
    file = packed(tmp_path / "downloads" / "theirs" / "iter_3.pth")
    with pytest.raises(UsageError, match=r"in no run of ftbridge.*`--trust-checkpoint`"):
        resume.find_resume_point(place, str(file), {}, trusted=False)
    assert resume.find_resume_point(place, str(file), {"lora_rank": 16}, trusted=True) == resume.ResumePoint(file, None)


def forged(run, **values):
    """Write other values into a run's record, as somebody does who has no key; return it as it is read."""
    file = run.path / "run.json"
    file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | values))
    return load_run(run.path)


NO_SIGNATURE = r"belongs to run `one`, whose record is not signed by this machine .* `--trust-checkpoint`"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("status", ["failed", "succeeded"])
def test_a_forged_checkpoint_with_its_forged_record_needs_trust(place, backend, status):
    run = watched(place, 3, backend=backend, status=status)
    evil = saved(run, 6)
    digests = {**run.checkpoints, f"output/{evil.name}": resume.checkpoint_sha256(evil)}
    forged(run, status="interrupted", checkpoints=digests)
    for wanted in ("auto", "one", str(run.path), str(evil), str(evil.with_name(evil.name.replace("6", "3")))):
        with pytest.raises(InputError, match=NO_SIGNATURE):
            resume.find_resume_point(place, wanted, {}, trusted=False)
    assert resume.find_resume_point(place, "auto", {}, trusted=True).checkpoint == evil


def test_a_run_of_another_machine_or_an_older_ftbridge_needs_trust(place, tmp_path, monkeypatch):
    run = watched(place, 3)
    with monkeypatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
        with pytest.raises(InputError, match=NO_SIGNATURE):
            resume.find_resume_point(place, "one", {}, trusted=False)
    assert resume.find_resume_point(place, "one", {}, trusted=False)
    older = msgspec.json.decode((run.path / "run.json").read_bytes())
    del older["signature"]
    (run.path / "run.json").write_bytes(msgspec.json.encode(older))
    with pytest.raises(InputError, match=NO_SIGNATURE):
        resume.find_resume_point(place, "one", {}, trusted=False)


def test_a_run_that_was_moved_is_still_ours(place, tmp_path):
    watched(place, 3).path.rename(tmp_path / "moved")
    assert resume.find_resume_point(place, str(tmp_path / "moved"), {}, trusted=False).checkpoint.name == "iter_3.pth"


def test_going_on_with_a_strangers_run_makes_none_of_its_checkpoints_ours(place):
    run = watched(place, 3, 6)
    foreign = forged(run, steps=10)
    found = resume.find_resume_point(place, "one", {}, trusted=True)
    assert (found.run, found.checkpoint.name) == (foreign, "iter_6.pth")
    now = resume.claim_run(foreign, msgspec.structs.replace(foreign, status="running", signature="")).end("failed", 1)
    assert (bool(now.signature), now.checkpoints) == (True, {})
    ledger = resume.CheckpointLedger(now, load_backend(XTUNER))
    assert ledger.update(ended=True).checkpoints == {}
    with pytest.raises(InputError, match="is not on record"):
        resume.find_resume_point(place, "one", {}, trusted=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"set": {"a": "1", "b": "x y"}}, "--set a=1 --set 'b=x y'"),
        ({"deepspeed": "theirs.json"}, "--deepspeed theirs.json"),
        ({"track": ("wandb", "swanlab")}, "--track wandb,swanlab"),
    ],
)
def test_options_that_can_run_code_are_given_again_for_a_strangers_run(place, options, words):
    run = watched(place, 3)
    spec = {**msgspec.to_builtins(run.spec), **options}
    signed = msgspec.structs.replace(run, spec=msgspec.convert(spec, TrainSpec)).save()
    assert resume.find_resume_point(place, "one", {}, trusted=False)
    forged(signed, model="/theirs")
    with pytest.raises(UsageError, match=rf"options decide which code runs.* add `{re.escape(words)}`"):
        resume.find_resume_point(place, "one", {}, trusted=True)
    assert resume.find_resume_point(place, "one", options, trusted=True)


def test_a_strangers_run_without_such_options_needs_no_more_than_trust(place):
    forged(watched(place, 3), model="/theirs")
    assert resume.find_resume_point(place, "one", {}, trusted=True)


@pytest.fixture
def plan(place):
    """Return a plan that goes on with the run `one`, as it would start now: two processes, ZeRO-2."""
    return TrainPlan(
        spec=TrainSpec(backend=XTUNER, model="base", dataset="faq", epochs=1, gradient_accumulation_steps=1),
        run=place.runs / "one",
        model=Path("/base"),
        dataset="faq",
        dataset_dir=Path("/data"),
        entry=DatasetEntry(version="1", files={}, samples=18, sources={}, columns={}),
        family=get_family("qwen2.5"),
        machine=Devices("cpu", 2, "bfloat16"),
        deepspeed={"zero_optimization": {"stage": 2}},
    )


def test_resumed_run_must_match_the_stopped_one(place, plan):
    run = stopped(place, processes=2)
    folder = run.path / "output" / "iter_6.pth"
    for rank in (0, 1):
        packed(folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (run.path / "deepspeed.json").write_text('{"zero_optimization": {"stage": 2}}')
    source, two = resume.ResumePoint(folder, run), ["--nproc-per-node=2"]
    resume.check_resume_point(source, plan, two, run.datasets)
    resume.check_resume_point(resume.ResumePoint(folder, None), plan, two, run.datasets)
    with pytest.raises(UsageError, match="was saved by 2 processes, and 3 would start now"):
        resume.check_resume_point(source, plan, ["--nproc-per-node=3"], run.datasets)
    with pytest.raises(UsageError, match="resume with DeepSpeed"):
        resume.check_resume_point(source, msgspec.structs.replace(plan, deepspeed=None), two, run.datasets)
    third = msgspec.structs.replace(plan, deepspeed={"zero_optimization": {"stage": 3}})
    with pytest.raises(UsageError, match="used ZeRO stage 2, and `auto` is stage 3 now"):
        resume.check_resume_point(source, third, two, run.datasets)
    with pytest.raises(InputError, match="`faq` is not what run `one` trained on"):
        resume.check_resume_point(source, plan, two, {"faq.xlsx": "another sha256"})
    next(folder.iterdir()).write_bytes(b"PK")
    with pytest.raises(InputError, match="not a complete checkpoint with the optimizer's state"):
        resume.check_resume_point(resume.ResumePoint(folder, None), plan, two, run.datasets)


@pytest.fixture
def recorded(place, plan):
    """Return a plan, and a source whose run has recorded its data and its base as the plan has them."""
    model = place.folder / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "tokenizer.json").write_text("{}")
    now = msgspec.structs.replace(plan, model=model, machine=Devices("cpu", 1, "bfloat16"), deepspeed=None)
    run = msgspec.structs.replace(stopped(place), base=fingerprint(model), steps=now.steps)
    return now, resume.ResumePoint(packed(run.path / "output" / "iter_6.pth"), run)


@pytest.mark.parametrize("change", [{"faq.jsonl": "edited"}, {"faq-validation.jsonl": "new"}])
def test_resume_with_changed_data_is_refused_by_its_file(recorded, change):
    plan, source = recorded
    resume.check_resume_point(source, plan, [], source.run.datasets)
    with pytest.raises(InputError, match=rf"`faq` is not what run `one` trained on \(`{next(iter(change))}`\)"):
        resume.check_resume_point(source, plan, [], source.run.datasets | change)


def test_a_run_without_a_record_of_its_base_is_held_to_what_it_noted(recorded):
    plan, source = recorded
    noted = {"faq.xtuner.jsonl": "a", "faq.alpaca.jsonl": "b", "faq.xlsx": "c"}  # both backends' files, as it was then
    older = resume.ResumePoint(source.checkpoint, msgspec.structs.replace(source.run, base=None, datasets=noted))
    now = {"faq.xtuner.jsonl": "a", "faq.xlsx": "c", "faq-validation.xtuner.jsonl": "d"}
    resume.check_resume_point(older, plan, [], now)
    with pytest.raises(InputError, match=r"\(`faq\.xtuner\.jsonl`\)"):
        resume.check_resume_point(older, plan, [], now | {"faq.xtuner.jsonl": "edited"})


@pytest.mark.parametrize(
    ("file", "told"), [("model.safetensors", "its 1 tensor differs, such as"), ("tokenizer.json", "`tokenizer.json`")]
)
def test_resume_with_a_changed_base_model_is_refused(recorded, file, told):
    plan, source = recorded
    (plan.model / "README.md").write_text("metadata")
    resume.check_resume_point(source, plan, [], source.run.datasets)
    (plan.model / file).write_bytes(b"wei ghts"[-7:])
    with pytest.raises(InputError, match=rf"model` is not what run `one` trained \(.*{told}"):
        resume.check_resume_point(source, plan, [], source.run.datasets)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_that_was_cut_off_is_named(place, capsys, backend):
    run = watched(place, 3, backend=backend)
    newer = saved(run, 6)
    cut = newer if newer.is_file() else newer / "optimizer.pt"  # whose weights can be read
    cut.write_bytes(b"PK")
    assert "3" in resume.find_resume_point(place, "auto", {}, trusted=False).checkpoint.name
    damaged = "it" if newer.is_file() else "`optimizer.pt`"
    told = f"warning: `{newer.name}` of run `one` cannot be read ({damaged} is not a "
    assert told in capsys.readouterr().err
    (newer / "optimizer.pt" if newer.is_dir() else newer).unlink()
    resume.find_resume_point(place, "auto", {}, trusted=False)
    assert ("(files of it are missing)" in capsys.readouterr().err) is newer.is_dir()


def test_resumed_xtuner_alone_is_let_unpickle_in_full(plan):
    resumed = msgspec.structs.replace(plan, resume=Path("/run/output/iter_6.pth"))
    assert load_backend(XTUNER).environment_variables(plan) == {}
    assert load_backend(XTUNER).environment_variables(resumed) == {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    assert load_backend(LLAMAFACTORY).environment_variables(resumed) == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpoint_to_resume_stands_in_the_frameworks_config(plan, backend):
    spec = msgspec.structs.replace(plan.spec, backend=backend)
    files = {"xtuner": "faq.xtuner.jsonl", "alpaca": "faq.alpaca.jsonl"}
    entry = msgspec.structs.replace(plan.entry, files=files)
    resumed = msgspec.structs.replace(plan, spec=spec, entry=entry, resume=Path("/it's {{ 7 }}/checkpoint"))
    module = load_backend(backend)
    config = next(iter(module.render(resumed).values()))
    if backend == XTUNER:
        arguments = module.arguments(resumed)
        assert arguments[arguments.index("--resume") + 1] == "/it's {{ 7 }}/checkpoint"
    else:
        told = yaml.safe_load(config)
        assert told["resume_from_checkpoint"] == "/it's {{ 7 }}/checkpoint"
        assert told["overwrite_output_dir"] is False  # or the log of the losses so far would be deleted


def test_trust_without_resume_is_wrong_usage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="`--trust-checkpoint` is for `--resume"):
        ftbridge.train(trust_checkpoint=True)


@pytest.mark.parametrize(
    ("environment", "version", "began"),
    [
        ("transformers4", "4.57.1", "transformers4"),
        ("transformers5", "5.24.0", "transformers5"),
        ("", "4.57.1", "transformers4"),  # a run of before there were two
    ],
)
def test_a_run_goes_on_in_the_environment_that_it_began_in(place, monkeypatch, environment, version, began):
    monkeypatch.setenv("XDG_DATA_HOME", str(place.folder / "share"))
    pythons = {name: make_environment(default_folder(name), name) for name in LOCK_NAMES}
    run = msgspec.structs.replace(stopped(place), environment=environment, versions={"transformers": version})
    assert resume.interpreter_of(run, place) == pythons[began]


def test_a_run_does_not_go_on_with_another_transformers(place, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(place.folder / "share"))
    run = msgspec.structs.replace(stopped(place), environment="transformers4", versions={"transformers": "4.57.1"})
    with pytest.raises(SetupError, match=r"began with transformers 4\.57\.1: .*`ftbridge setup --environment transf"):
        resume.interpreter_of(run, place)
    newer = make_environment(place.folder / "newer")
    named = Settings(backends={"xtuner": BackendSettings(str(newer), python_transformers4=str(newer))})
    with pytest.raises(UsageError, match=rf"began with transformers 4\.57\.1, and `{newer}` has 5\.24\.0"):
        resume.interpreter_of(run, Project(place.folder, named))
