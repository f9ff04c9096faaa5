"""A training before it starts: its plan, and the launch that will run, as values."""

import os
import tempfile
from pathlib import Path
from typing import Any, Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset, record_hashes, resolve_dataset
from ftbridge.core.console import say
from ftbridge.core.errors import FrameworkError, UsageError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainOptions, TrainSpec, defaults
from ftbridge.dataset_info import registry
from ftbridge.launchers.backends import trackers
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import environment_of, installed_versions, interpreter
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.process.child import execute
from ftbridge.launchers.process.script import QUIET, SCRIPTS
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import Run, new_run_folder
from ftbridge.launchers.training import resume as resuming
from ftbridge.launchers.training.failures import failure_message
from ftbridge.launchers.training.options import _given, choose
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import get_family

VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "deepspeed", "datasets", "accelerate")


class Prepared(msgspec.Struct, frozen=True):
    """A training that is decided and not started; what `--dry-run` prints is what would run."""

    plan: TrainPlan
    launch: Launch
    project: Project
    python: Path
    resumed: Run | None = None


def prepare(
    config: str | os.PathLike[str] | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    trust_checkpoint: bool = False,
    **options: Unpack[TrainOptions],
) -> Prepared:
    """Decide a training from `options` (the fields of TrainSpec), the settings, and the last conversion.

    `resume` (auto, a run, or a checkpoint) goes on with a run, whose options it keeps, or from a checkpoint of
    elsewhere; `trust_checkpoint` lets it load one that run.json does not vouch for, which may run code.
    Downloads the model where it is a hub's, and converts a dataset that ftbridge did not make, into
    `.ftbridge/datasets`; starts and writes nothing else, and names the run's folder without making it. Raises an
    FtbridgeError that says what to do where something is missing or does not fit.
    """
    project = Project.find(config=Path(config) if config else None)
    source = (
        resuming.find_resume_point(project, os.fspath(resume), _given(project, options), trusted=trust_checkpoint)
        if resume
        else None
    )
    if trust_checkpoint and not resume:
        raise UsageError("`--trust-checkpoint` is for `--resume auto|RUN|CHECKPOINT`; leave it out")
    resumed = source.run if source else None
    spec = resumed.spec if resumed else choose(project, options)
    backend = load_backend(spec.backend)
    dataset = _dataset(project, spec, spec.dataset)
    chosen = devices.choose_devices(spec)
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder)
    python = (
        resuming.interpreter_of(resumed, project)
        if resumed
        else interpreter_for(project, spec.backend, model, trust_remote_code=spec.trust_remote_code)
    )
    family = get_family(spec.template) if spec.template else detect_family(model)
    family.cell(spec.backend)
    trackers.check(python, spec.track)
    plan = TrainPlan(
        spec=spec,
        run=resumed.path if resumed else new_run_folder(project, f"{spec.backend}-{dataset.name}"),
        model=model,
        dataset=dataset.name,
        dataset_dir=dataset.folder,
        entry=dataset.entry,
        family=family,
        machine=chosen,
        deepspeed=load_deepspeed(spec.deepspeed, project.folder, chosen),
        validation=_validation(project, spec, dataset.name),
        resume=source.checkpoint if source else None,
        environment=environment_of(installed_versions(python)),
        sha256=dataset.sha256,
        edited=dataset.edited,
        base=fingerprint(model),
    )
    launch = _launch(plan, backend, python)
    if source:
        resuming.check(source, plan, launch.argv, _datasets(plan))
    return Prepared(plan, launch, project, python, resumed)


def build_only(ready: Prepared) -> None:
    """Build tokenizer, dataset and model in the framework itself, in one process without DeepSpeed.

    Nothing is left behind. Raises FrameworkError, with the end of what the framework said, where it fails.
    """
    backend = load_backend(ready.plan.spec.backend)
    say(f"building tokenizer, dataset and model with {backend.title} ...")
    with tempfile.TemporaryDirectory(prefix="ftbridge-check-") as folder:
        alone = msgspec.structs.replace(ready.plan.machine, processes=1, gpus=ready.plan.machine.gpus[:1])
        plan = msgspec.structs.replace(ready.plan, run=Path(folder), machine=alone, deepspeed=None)
        launch = _launch(plan, backend, ready.python)
        for name, content in launch.files.items():
            write_atomic(Path(name), content)
        env = {**launch.env, "HF_DATASETS_CACHE": str(plan.run / "cache")}
        argv = (str(ready.python), str(SCRIPTS / "build_only.py"), launch.argv[-1])
        log = plan.run / "log.txt"
        code = execute(msgspec.structs.replace(launch, argv=argv, env=env), log, lambda: None)
        if code:
            raise FrameworkError(
                f"{backend.title} cannot build what the config names (exit status {code}){failure_message(log, code)}"
            )


def describe(ready: Prepared) -> list[tuple[str, str]]:
    """Return what would be trained, in words with their titles: the summary of `--dry-run`."""
    plan = ready.plan
    name = f"TIME-{plan.spec.backend}-{plan.dataset}"
    folder = f"{ready.resumed.path}, from {plan.resume}" if ready.resumed else str(ready.project.runs / name)
    changed = [f"--{key.replace('_', '-')} {value} (default: {usual})" for key, value, usual in _changed(plan.spec)]
    changed += [f"--set {key}={value}" for key, value in plan.spec.set.items()]
    return [
        ("backend", load_backend(plan.spec.backend).title),
        ("model", f"{plan.spec.model}, {plan.family.title} ({plan.family.status})"),
        ("dataset", f"{plan.dataset}, {plan.entry.samples} samples"),
        (
            "validation",
            f"{plan.validation.name}, {plan.validation.entry.samples} samples" if plan.validation else "none",
        ),
        ("options", "all as by default" if not changed else changed[0]),
        *(("", each) for each in changed[1:]),
        ("steps", f"{_steps(plan)}, {plan.warmup_steps} of them warm-up"),
        ("runs on", f"{_machine(plan)} in {plan.machine.dtype}; DeepSpeed: {'yes' if plan.deepspeed else 'no'}"),
        ("run folder", folder),
    ]


def _changed(spec: TrainSpec) -> list[tuple[str, str, str]]:
    """Return the options that differ from their defaults, with both values as they are typed."""
    return [
        (name, _typed(getattr(spec, name)), _typed(usual))
        for name, usual in defaults().items()
        if getattr(spec, name) != usual
    ]


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, ()) else ",".join(value) if isinstance(value, tuple) else str(value)


def _dataset(project: Project, spec: TrainSpec, name: str) -> Dataset:
    folder = (project.folder / spec.dataset_dir).resolve()
    target = load_backend(spec.backend).target
    return record_hashes(resolve_dataset(folder, name, target, project.folder / ".ftbridge" / "datasets"), target)


def _validation(project: Project, spec: TrainSpec, dataset: str) -> Dataset | None:
    """Return what is validated on; `auto` is the validation part beside the training set, where there is one."""
    name = spec.validation_dataset
    if name == "auto":
        name = f"{dataset.removesuffix('-train')}-validation"
        folder = (project.folder / spec.dataset_dir).resolve()
        if name not in registry.read(folder):
            if spec.early_stopping:
                raise UsageError(
                    f"`--early-stopping` watches the validation loss, and there is no dataset `{name}` in "
                    f"`{folder / registry.FILE}`; name one with `--validation-dataset`, or convert again with "
                    "`--split 8:1:1`"
                )
            return None
    if name == "none":
        return None
    return _dataset(project, spec, name)


def _launch(plan: TrainPlan, backend: Backend, python: Path) -> Launch:
    """Put together what will run; `files` maps absolute paths to content."""
    cpu = plan.machine.device == "cpu"
    processes = plan.machine.processes
    cell = plan.family.cell(plan.spec.backend)
    helper_spec = {
        "script": str(backend.script),
        "arguments": backend.arguments(plan),
        "device": plan.machine.device,
        "dtype": plan.machine.dtype,
        "deepspeed": plan.deepspeed is not None,
        "trust_remote_code": plan.spec.trust_remote_code,
        "bos": cell.prompt.bos,
        "eos": cell.prompt.eos,
    }
    files = {str(plan.run / name): content for name, content in backend.render(plan).items()}
    files[str(plan.run / "launch.json")] = msgspec.json.format(msgspec.json.encode(helper_spec)).decode()
    # One rendezvous per run, on a port that is free: two trainings on one machine do not meet.
    torchrun = (
        *(str(SCRIPTS / "distributed.py"), f"--nproc-per-node={processes}"),
        # Else the processes look for each other by this machine's own name, which need not resolve.
        *("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"),
    )
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, host.cores() // processes)
    env = {**QUIET, **devices.device_variables(plan.machine.gpus), "OMP_NUM_THREADS": str(threads)}
    env |= trackers.environment(plan)
    if cpu:
        env["DS_ACCELERATOR"] = "cpu"
    env |= backend.environment(plan)
    if not plan.spec.trust_remote_code:
        env["HF_HUB_OFFLINE"] = "1"  # the model is here already
    argv = (
        str(python),
        *(torchrun if plan.distributed else ()),
        str(SCRIPTS / "run_backend.py"),
        str(plan.run / "launch.json"),
    )
    return Launch(argv, env, str(plan.run), files)


def _datasets(plan: TrainPlan) -> dict[str, str]:
    """Return the sha256 of what is trained and validated on, as it is read, and of its sources as they were known."""
    validation = {**plan.validation.entry.sources, **plan.validation.sha256} if plan.validation else {}
    return {**plan.entry.sources, **validation, **plan.sha256}


def _steps(plan: TrainPlan) -> str:
    return f"{'about ' if plan.estimated else ''}{plan.steps} optimiser steps"


def _machine(plan: TrainPlan) -> str:
    if plan.machine.device == "cuda":
        return f"{plan.machine.processes} GPU{'s' if plan.machine.processes > 1 else ''}"
    return "the CPU" if plan.machine.processes == 1 else f"the CPU, {plan.machine.processes} processes"
