"""`ftbridge train`: from options to a finished run, with an honest end."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.registered.dataset import Dataset, as_it_stands, usable
from ftbridge.core.console import say
from ftbridge.core.errors import FrameworkError, InputError, InterruptedRun, SetupError, UsageError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.core.plugins import Backend, names
from ftbridge.core.plugins import backend as load_backend
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.presets import preset
from ftbridge.launchers.backends import trackers
from ftbridge.launchers.backends.plan import Plan, load_deepspeed
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import environment_of, interpreter
from ftbridge.launchers.environment.venv import versions as installed_versions
from ftbridge.launchers.preflight.preflight import import_checks, refuse
from ftbridge.launchers.preflight.preflight import preflight as run_preflight
from ftbridge.launchers.process import torch_locks
from ftbridge.launchers.process.child import execute
from ftbridge.launchers.process.script import QUIET, SCRIPTS
from ftbridge.launchers.runs import record as runs
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.training_log import Metrics, Record
from ftbridge.launchers.training import detached
from ftbridge.launchers.training import resume as resuming
from ftbridge.launchers.training.failures import told
from ftbridge.launchers.training.progress import reporter
from ftbridge.templates import families

VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "deepspeed", "datasets", "accelerate")


class Prepared(msgspec.Struct, frozen=True):
    """A training that is decided and not started; what `--dry-run` prints is what would run."""

    plan: Plan
    launch: Launch
    project: Project
    python: Path
    resumed: runs.Run | None = None


def prepare(
    config: str | os.PathLike[str] | None = None,
    *,
    resume: str | None = None,
    trust_checkpoint: bool = False,
    **options: Any,
) -> Prepared:
    """Decide a training from `options` (the fields of TrainSpec), the settings, and the last conversion.

    `resume` (auto, a run, or a checkpoint) goes on with a run, whose options it keeps, or from a checkpoint of
    elsewhere; `trust_checkpoint` lets it load one that run.json does not vouch for, which may run code.
    Downloads the model where it is a hub's, and converts a dataset that ftbridge did not make, into
    `.ftbridge/datasets`; starts and writes nothing else. Raises an FtbridgeError that says
    what to do where something is missing or does not fit.
    """
    project = Project.find(config=Path(config) if config else None)
    source = resuming.find(project, resume, _given(project, options), trusted=trust_checkpoint) if resume else None
    if trust_checkpoint and not resume:
        raise UsageError("`--trust-checkpoint` is for `--resume auto|RUN|CHECKPOINT`; leave it out")
    resumed = source.run if source else None
    spec = resumed.spec if resumed else choose(project, options)
    backend = load_backend(spec.backend)
    dataset = _dataset(project, spec, spec.dataset)
    chosen = devices.choose(spec)
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder)
    python = (
        resuming.interpreter_of(resumed, project)
        if resumed
        else interpreter_for(project, spec.backend, model, trust_remote_code=spec.trust_remote_code)
    )
    family = families.get(spec.template) if spec.template else families.detect(model)
    family.cell(spec.backend)
    trackers.check(python, spec.track)
    plan = Plan(
        spec=spec,
        run=resumed.path if resumed else project.runs / "RUN",
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


def train(
    config: str | os.PathLike[str] | None = None,
    *,
    report: Callable[[Record], None] | None = None,
    preflight: bool = True,
    **options: Any,
) -> runs.Run:
    """Train as `options` (the fields of TrainSpec) say and return the finished run.

    Where the pre-flight finds what would fail, nothing is started and InputError says what to do; `preflight=False`
    leaves it out. `report` is called with each record of metrics.jsonl as it comes; by default a progress bar or
    plain lines go to stderr. Raises FrameworkError, with the end of the log, where the framework failed or
    left no checkpoint, and InterruptedRun after Ctrl-C; the run's folder says so too.
    """
    ready = prepare(config, **options)
    return start(ready, report=report, preflight=preflight)


def start(ready: Prepared, *, report: Callable[[Record], None] | None = None, preflight: bool = True) -> runs.Run:
    """Start what `prepare` decided, wait for its end, and return the run; raises as `train` does."""
    run = watch(_begin(ready, preflight_first=preflight), report)
    _remember(ready)
    return run


def detach(ready: Prepared, *, preflight: bool = True) -> runs.Run:
    """Start what `prepare` decided in a process that outlives this one, and return the run once it is going.

    Raises FrameworkError, with the end of the log, where it does not come so far.
    """
    run = detached.start(_begin(ready, preflight_first=preflight))
    _remember(ready)
    return run


def watch(
    run: runs.Run, report: Callable[[Record], None] | None = None, started: Callable[[], None] | None = None
) -> runs.Run:
    """Run what `run` says, wait for its end, and return it; raises as `train` does.

    `started` is called, again and again, while the framework's process is there.
    """
    backend = load_backend(run.spec.backend)
    run = run.watched()
    metrics, ledger = Metrics(run, backend), resuming.Ledger(run, backend)
    log = run.path / "log.txt"
    begun = log.stat().st_size if log.exists() else 0
    try:
        with reporter(run.steps, report) as update:

            def follow() -> None:
                if started:
                    started()
                for record in metrics.update():
                    update(record)
                ledger.look()

            try:
                code = execute(run.launch, log, follow)
            finally:
                run.release()
            for record in metrics.update():
                update(record)
        run = ledger.look(ended=code != 0)
    except KeyboardInterrupt:
        ledger.look(ended=True).end("interrupted", InterruptedRun.exit_code)
        raise InterruptedRun(f"stopped; what was saved is in {run.path}") from None
    except Exception as error:  # our own failing must not leave a run that seems to go on
        failed = ledger.look(ended=True).end("failed", getattr(error, "exit_code", 1))
        if isinstance(error, SetupError) and failed.checkpoints:
            raise SetupError(
                f"{error}; the training was ended, and once that is mended `ftbridge train --resume {run.id}` goes on"
            ) from error
        raise
    return _judge(run, backend, code, begun)


def _begin(ready: Prepared, *, preflight_first: bool) -> runs.Run:
    """Make the run's folder with all that is needed to start it."""
    if preflight_first:
        refuse(preflight(ready))
    if ready.plan.deepspeed:
        torch_locks.free()
    backend = load_backend(ready.plan.spec.backend)
    name = f"{ready.plan.spec.backend}-{ready.plan.dataset}"
    folder = ready.resumed.path if ready.resumed else runs.new_folder(ready.project, name)
    plan = msgspec.structs.replace(ready.plan, run=folder)
    try:
        launch = _launch(plan, backend, ready.python)
        run = _record(plan, launch, ready.python)
        run = (resuming.claim(ready.resumed, run) if ready.resumed else run).watched()
        for file, content in launch.files.items():
            write_atomic(Path(file), content)
    except BaseException:  # nothing has begun: no run is left that seems to have
        if not ready.resumed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if plan.resume:
        say(f"going on from {plan.resume}")
    say(f"run {run.id}: {_steps(plan)} with {backend.title} on {_machine(plan)}; log in {folder / 'log.txt'}")
    return run


def _remember(ready: Prepared) -> None:
    chosen = {"backend": ready.plan.spec.backend, "model": str(ready.plan.spec.model)}
    if written := ready.project.write_settings(chosen):
        say(f"wrote {written} with the backend and model of this run, the defaults from now on")


def build(ready: Prepared) -> None:
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
                f"{backend.title} cannot build what the config names (exit status {code}){told(log, code)}"
            )


def preflight(ready: Prepared) -> list[Check]:
    """Return what the pre-flight finds; where all is well, the modules of the training are imported once, too."""
    checks = run_preflight(ready.plan, ready.python, ready.project.runs)
    if any(check.status == "failure" for check in checks):
        return checks
    return [*checks, *import_checks(ready.plan, ready.python)]


def describe(ready: Prepared) -> str:
    """Return what `--dry-run` prints: every option with its value, the rendered files, and the launch."""
    options = "\n".join(f"  {key}: {value}" for key, value in msgspec.to_builtins(ready.plan.spec).items())
    files = "\n".join(f"--- {name}\n{content}" for name, content in ready.launch.files.items())
    env = " ".join(f"{key}={shlex.quote(value)}" for key, value in ready.launch.env.items())
    plan = ready.plan
    return (
        f"options:\n{options}\n\n"
        f"{plan.entry.samples} samples, {_steps(plan)}, {plan.warmup_steps} of them warm-up; "
        f"{plan.family.title} ({plan.family.status}); {_machine(plan)} in {plan.machine.dtype}; "
        f"DeepSpeed: {'yes' if plan.deepspeed else 'no'}\n\n{files}\n"
        f"--- launch\ncd {shlex.quote(ready.launch.cwd)}\n{env} \\\n  {shlex.join(ready.launch.argv)}"
    )


def choose(project: Project, options: dict[str, Any]) -> TrainSpec:
    """Return the training that is asked for.

    Options win over settings, those over the last conversion, that over the preset, that over defaults.
    """
    state = project.state()
    values = {"dataset": state.dataset, "dataset_dir": state.dataset_dir or "data"}
    values |= project.settings.train | _given(project, options)
    if "backend" not in values:
        raise UsageError(f"choose a framework with `--backend`: {' or '.join(names('backends'))}")
    load_backend(str(values["backend"]))
    if not values["dataset"]:
        raise UsageError(
            "there is no dataset yet: convert one first (`ftbridge convert FILE`), or name one with `--dataset`"
        )
    dataset_dir = (project.folder / str(values["dataset_dir"])).resolve()
    name, _ = registry.look_up(dataset_dir, str(values["dataset"]))
    if "model" not in values:
        known = registry.ours(dataset_dir, [name])
        if not known or not known[name].preset:
            raise UsageError(
                "which model? Give `--model` a folder or a hub's name, e.g. `--model Qwen/Qwen2.5-7B-Instruct`, "
                "or write `model: ...` into ftbridge.yaml"
            )
        values["model"] = preset(known[name].preset).model
        say(f"no model is chosen: taking {values['model']}, which goes with the preset {known[name].preset}")
    if isinstance(extra := values.get("set"), dict):  # YAML has read numbers already
        values["set"] = {k: v if isinstance(v, str) else msgspec.json.encode(v).decode() for k, v in extra.items()}
    try:
        return parse(TrainSpec, values, "the training")
    except InputError as error:
        raise UsageError(str(error)) from error


def _given(project: Project, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, paths, which start at the current folder, as seen from the project's."""
    given = {key: value for key, value in options.items() if value not in (None, {}, ())}
    for key in given.keys() & {"model", "dataset_dir", "deepspeed"}:
        path = Path(str(given[key])).expanduser()
        if key == "dataset_dir" or path.exists():
            inside = path.absolute().is_relative_to(project.folder)
            given[key] = str(path.absolute().relative_to(project.folder) if inside else path.absolute())
    return given


def _dataset(project: Project, spec: TrainSpec, name: str) -> Dataset:
    folder = (project.folder / spec.dataset_dir).resolve()
    return as_it_stands(usable(folder, name, spec.backend, project.folder / ".ftbridge" / "datasets"), spec.backend)


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


def _launch(plan: Plan, backend: Backend, python: Path) -> Launch:
    """Put together what will run; `files` maps absolute paths to content."""
    cpu = plan.machine.device == "cpu"
    processes = plan.machine.processes
    cell = plan.family.cell(plan.spec.backend)
    helper_spec = {
        "backend": backend.module,
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
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, devices.cores() // processes)
    env = {**QUIET, **devices.environment(plan.machine.gpus), "OMP_NUM_THREADS": str(threads)}
    env |= trackers.environment(plan)
    if cpu:
        env["DS_ACCELERATOR"] = "cpu"
    env |= resuming.environment(plan)
    if not plan.spec.trust_remote_code:
        env["HF_HUB_OFFLINE"] = "1"  # the model is here already
    argv = (
        str(python),
        *(torchrun if plan.distributed else ()),
        str(SCRIPTS / "run_backend.py"),
        str(plan.run / "launch.json"),
    )
    return Launch(argv, env, str(plan.run), files)


def _record(plan: Plan, launch: Launch, python: Path) -> runs.Run:
    installed = installed_versions(python)
    wanted = (load_backend(plan.spec.backend).module, *VERSIONS)
    return runs.Run(
        id=plan.run.name,
        folder=str(plan.run),
        status="running",
        spec=plan.spec,
        launch=msgspec.structs.replace(launch, files={Path(name).name: "" for name in launch.files}),
        family=plan.family.name,
        model=str(plan.model),
        system=plan.entry.system,
        several_systems=plan.entry.several_systems,
        samples=plan.entry.samples,
        steps=plan.steps,
        versions={"ftbridge": __version__, "python": sys.version.split()[0]}
        | {name: installed[name] for name in wanted if name in installed},
        environment=plan.environment,
        datasets=_datasets(plan),
        base=plan.base,
        attempts=(runs.Attempt(runs.now()),),
        pid=os.getpid(),
    )


def _datasets(plan: Plan) -> dict[str, str]:
    """Return the sha256 of what is trained and validated on, as it is read, and of its sources as they were known."""
    validation = {**plan.validation.entry.sources, **plan.validation.sha256} if plan.validation else {}
    return {**plan.entry.sources, **validation, **plan.sha256}


def _judge(run: runs.Run, backend: Backend, code: int, begun: int) -> runs.Run:
    """A run succeeded when its process ended with 0 and what it should have written is there.

    What it wrote of itself begins at byte `begun` of the log.
    """
    if code == 0 and backend.checkpoints(run.path):
        return run.end("succeeded", 0)
    run = run.end("failed", code)
    how = f"ended with exit status {code}" if code else "ended without a readable checkpoint"
    raise FrameworkError(f"{backend.title} {how}{told(run.path / 'log.txt', code, begun)}")


def _steps(plan: Plan) -> str:
    return f"{'about ' if plan.estimated else ''}{plan.steps} optimiser steps"


def _machine(plan: Plan) -> str:
    if plan.machine.device == "cuda":
        return f"{plan.machine.processes} GPU{'s' if plan.machine.processes > 1 else ''}"
    return "the CPU" if plan.machine.processes == 1 else f"the CPU, {plan.machine.processes} processes"
