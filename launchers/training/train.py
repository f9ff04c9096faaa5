"""`ftbridge train`: from options to a finished run, with an honest end."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import msgspec

from ftbridge import __version__
from ftbridge.core.console import natural_duration, say
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainOptions
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.environment.venv import installed_versions
from ftbridge.launchers.preflight.preflight import import_checks, preflight_checks, refuse_failures, trained_parameters
from ftbridge.launchers.process import torch_locks
from ftbridge.launchers.process.identity import this_machine
from ftbridge.launchers.runs.record import Attempt, Run, free_name, make_run_folder, parameters_in_words, utc_now
from ftbridge.launchers.runs.training_log import Record
from ftbridge.launchers.training import detached
from ftbridge.launchers.training.prepare import (
    VERSIONS,
    Prepared,
    dataset_hashes,
    devices_in_words,
    make_launch,
    prepare,
    steps_in_words,
)
from ftbridge.launchers.training.progress import expected_time
from ftbridge.launchers.training.resume import claim_run
from ftbridge.launchers.training.watch import watch


def train(
    config: str | os.PathLike[str] | None = None,
    *,
    callback: Callable[[Record], object] | None = None,
    preflight: bool = True,
    detach: bool = False,
    resume: str | os.PathLike[str] | None = None,
    trust_checkpoint: bool = False,
    yes: bool = False,
    name: str = "",
    **options: Unpack[TrainOptions],
) -> Run:
    """Train as `options` (the fields of TrainSpec) say and return the finished run.

    Where the pre-flight finds what would fail, nothing is started and InputError says what to do; `preflight=False`
    leaves it out. `callback` is called with each record of metrics.jsonl as it comes; by default a progress bar or
    plain lines go to stderr. `detach` returns the run once it is going, in a process that outlives this one and calls
    nobody back. `resume`, `trust_checkpoint`, `yes` and `name` are those of `prepare`. Raises FrameworkError, with
    the end of the log, where the framework failed or left no checkpoint, and InterruptedRun after Ctrl-C; the run's
    folder says so too.
    """
    if detach and callback:
        raise UsageError(
            _("with `detach` nothing is called back: leave `callback` out, `ftbridge.runs.logs` follows it")
        )
    ready = prepare(config, resume=resume, trust_checkpoint=trust_checkpoint, yes=yes, name=name, **options)
    if detach:
        return start_detached(ready, preflight=preflight)
    return start(ready, callback=callback, preflight=preflight)


def start(ready: Prepared, *, callback: Callable[[Record], object] | None = None, preflight: bool = True) -> Run:
    """Start what `prepare` decided, wait for its end, and return the run; raises as `train` does."""
    run = watch(_create_run(ready, preflight_first=preflight), callback, begin=_first_step(ready))
    seconds = (run.attempts[-1].ended - run.attempts[-1].started).total_seconds() if run.attempts[-1].ended else 0
    say(_("run {id} succeeded in {time}").format(id=run.name or run.id, time=natural_duration(seconds)))
    _save_choices(ready)
    return run


def start_detached(ready: Prepared, *, preflight: bool = True) -> Run:
    """Start what `prepare` decided in a process that outlives this one, and return the run once it is going.

    Raises FrameworkError, with the end of the log, where it does not come so far.
    """
    run = detached.start_watcher(_create_run(ready, preflight_first=preflight))
    _save_choices(ready)
    return run


def _first_step(ready: Prepared) -> float:
    """Return the step that a training goes on from, 0 for one from the start."""
    spec, checkpoint = ready.plan.spec, ready.plan.resume
    if not checkpoint:
        return 0
    return load_backend(spec.backend).checkpoint_step(checkpoint, spec.gradient_accumulation_steps) or 0


def _create_run(ready: Prepared, *, preflight_first: bool) -> Run:
    """Return a run that can be started: its folder and run.json are there, with the files of its launch."""
    if preflight_first:
        refuse_failures(preflight(ready))
    if ready.plan.deepspeed:
        torch_locks.remove_stale_locks()
    backend = load_backend(ready.plan.spec.backend)
    plan, launch = ready.plan, ready.launch
    folder = plan.run if ready.resumed else make_run_folder(plan.run)
    try:
        if folder != plan.run:  # another training of the same second took its name
            plan = msgspec.structs.replace(plan, run=folder)
            launch = make_launch(plan, backend, ready.python)
        run = _run_record(plan, launch, ready)
        if ready.resumed:
            run = claim_run(ready.resumed, run)
        elif ready.name:
            free_name(ready.project, ready.name)
        run = run.watched()
        for file, content in launch.files.items():
            write_atomic(Path(file), content)
    except BaseException:  # nothing has begun: no run is left that seems to have
        if not ready.resumed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _say_start(ready, run)
    return run


def _say_start(ready: Prepared, run: Run) -> None:
    """Say what starts, and how long it takes, as far as earlier runs tell."""
    plan = ready.plan
    if plan.resume:
        say(_("resuming from {resume}").format(resume=plan.resume))
    steps, where = steps_in_words(plan), devices_in_words(plan)
    title = load_backend(plan.spec.backend).title
    say(
        _("run {id}: {steps} with {title} on {where}; log in {file}").format(
            id=run.name or run.id, steps=steps, title=title, where=where, file=run.path / "log.txt"
        )
    )
    if words := parameters_in_words(run.trained_parameters, run.parameters):
        say(_("trains {words}").format(words=words))
    if time := _time_in_words(ready, run):
        say(_("takes {time}").format(time=time))


def _time_in_words(ready: Prepared, run: Run) -> str:
    if not (expected := expected_time(run)):
        return ""
    seconds = expected.total(run.steps - int(_first_step(ready)))
    return _("about {time}, going by run {id}").format(time=natural_duration(seconds), id=expected.run)


def planned_time(ready: Prepared) -> str:
    """Return in words how long a training will take, as far as earlier runs tell; "" where none does."""
    run = _run_record(ready.plan, ready.launch, ready)
    return _time_in_words(ready, msgspec.structs.replace(run, machine=this_machine()))


def _save_choices(ready: Prepared) -> None:
    """Write backend and model into ftbridge.yaml where it is not there yet, as the defaults from now on."""
    chosen = {"backend": ready.plan.spec.backend, "model": str(ready.plan.spec.model)}
    if written := ready.project.write_settings(chosen):
        say(_("saved backend and model of this run as defaults in {written}").format(written=written))


def preflight(ready: Prepared) -> list[Check]:
    """Return the pre-flight's checks of a training; unless one fails, its modules are imported once, too."""
    checks = preflight_checks(ready.plan, ready.python, ready.project.runs)
    if any(check.status == "failure" for check in checks):
        return checks
    return [*checks, *import_checks(ready.plan, ready.python)]


def _run_record(plan: TrainPlan, launch: Launch, ready: Prepared) -> Run:
    """Return what run.json holds of a training that starts now."""
    installed = installed_versions(ready.python)
    trained, parameters = trained_parameters(plan, ready.python)
    recorded = (load_backend(plan.spec.backend).module, *VERSIONS)
    return Run(
        id=plan.run.name,
        name=ready.name,
        folder=str(plan.run),
        status="running",
        spec=plan.spec,
        launch=msgspec.structs.replace(launch, files={Path(name).name: "" for name in launch.files}),
        family=plan.family.name if plan.family else "",
        model=str(plan.model),
        system=plan.entry.system,
        several_systems=plan.entry.several_systems,
        samples=plan.entry.samples,
        steps=plan.steps,
        trained_parameters=trained,
        parameters=parameters,
        versions={"ftbridge": __version__, "python": sys.version.split()[0]}
        | {name: installed[name] for name in recorded if name in installed},
        environment=plan.environment,
        datasets=dataset_hashes(plan),
        base=plan.base,
        chat_template=plan.chat_template,
        tokens=tuple(each.fingerprint.key for each in (plan.tokens, plan.validation_tokens) if each),
        agreement=plan.tokens.agreement if plan.tokens else None,
        attempts=(Attempt(utc_now()),),
        pid=os.getpid(),
    )
