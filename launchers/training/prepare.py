"""A training before it starts: its plan, and the launch that will run, as values."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset, file_stem
from ftbridge.adapters.registered.mixture import DATASETS, is_mixture, resolve_choices
from ftbridge.core.console import counted, say
from ftbridge.core.errors import FrameworkError, UsageError
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.core.project import Project
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import DatasetChoice, TrainOptions, TrainSpec, as_typed, dataset_choices, defaults
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends import trackers
from ftbridge.launchers.backends.other_configs.reading import find_project
from ftbridge.launchers.backends.plan import TrainPlan, load_deepspeed
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import environment_of, installed_versions, interpreter
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.preflight.model import ask_about_template
from ftbridge.launchers.preflight.preflight import trained_parameters
from ftbridge.launchers.process.child import execute
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import Run, check_name, new_run_folder, parameters_in_words
from ftbridge.launchers.training.failures import failure_message
from ftbridge.launchers.training.options import (
    ask_about_values,
    check_settings,
    given_options,
    resolve_train_spec,
)
from ftbridge.launchers.training.resume import check_resume_point, find_resume_point, interpreter_of
from ftbridge.launchers.training.tokens import chat_template_of, check_takes_tokens, with_possible_tokens, with_tokens
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import Family, get_family
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.ready import TOKENS, Counts

VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "deepspeed", "datasets", "accelerate")


class Prepared(msgspec.Struct, frozen=True):
    """A training that is decided and not started; what `--dry-run` prints is what would run."""

    plan: TrainPlan
    launch: Launch
    project: Project
    python: Path
    resumed: Run | None = None
    name: str = ""


def prepare(
    config: str | os.PathLike[str] | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    trust_checkpoint: bool = False,
    yes: bool = False,
    name: str = "",
    **options: Unpack[TrainOptions],
) -> Prepared:
    """Decide a training from `options` (the fields of TrainSpec), the settings, and the last conversion.

    `resume` (auto, a run, or a checkpoint) goes on with a run, whose options it keeps, or from a checkpoint of
    elsewhere; `trust_checkpoint` lets it load one that run.json does not vouch for, which may run code; with `yes`
    no value is asked about. `name` is what the run is to be called.
    Downloads the model where it is a hub's, and converts a dataset that ftbridge did not make, into
    `.ftbridge/datasets`; makes ready tokens, into `.ftbridge/tokens`; starts and writes nothing else, and names the
    run's folder without making it. Raises an
    FtbridgeError that says what to do where something is missing or does not fit.
    """
    project = find_project(config, options.get("backend"))
    if trust_checkpoint and not resume:
        raise UsageError(_("`--trust-checkpoint` is for `--resume auto|RUN|CHECKPOINT`; leave it out"))
    point = None
    if resume:
        given = given_options(project, options)
        point = find_resume_point(project, os.fspath(resume), given, trusted=trust_checkpoint)
    resumed = point.run if point else None
    name = _run_name(project, name, resumed)
    spec = resumed.spec if resumed else resolve_train_spec(project, options)
    asks = not (resumed or yes)
    if asks:
        ask_about_values(spec)
    backend = load_backend(spec.backend)
    dataset, validation = resolve_datasets(project, spec, _target(spec, backend))
    chosen = devices.choose_devices(spec)
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder)
    python = (
        interpreter_of(resumed, project)
        if resumed
        else interpreter_for(project, spec.backend, model, trust_remote_code=spec.trust_remote_code)
    )
    check_settings(spec, backend, python)
    asked, spec = spec, with_possible_tokens(spec, model, backend)
    if spec is not asked:
        dataset, validation = resolve_datasets(project, spec, _target(spec, backend))
    template, family = _prompt_of(spec, backend, model, dataset, project.folder, asks=asks)
    trackers.check_installed(python, spec.track)
    folder_name = f"{spec.backend}-{file_stem(dataset.name, dataset.parts)}"
    plan = TrainPlan(
        spec=spec,
        run=resumed.path if resumed else new_run_folder(project, folder_name),
        model=model,
        dataset=dataset.name,
        dataset_dir=dataset.folder,
        entry=dataset.entry,
        parts=dataset.parts,
        family=family,
        machine=chosen,
        deepspeed=load_deepspeed(spec.deepspeed, project.folder, chosen),
        validation=validation,
        resume=point.checkpoint if point else None,
        environment=environment_of(installed_versions(python)),
        sha256=dataset.sha256,
        edited=dataset.edited,
        base=fingerprint(model),
        chat_template=template,
    )
    if template:
        plan = with_tokens(plan, template, dataset, project.folder / TOKENS, python)
    launch = make_launch(plan, backend, python)
    if point:
        check_resume_point(point, plan, launch.argv, dataset_hashes(plan))
    return Prepared(plan, launch, project, python, resumed, name)


def _run_name(project: Project, name: str, resumed: Run | None) -> str:
    """Return the name of a run, "" for none; raises UsageError for another one than the resumed run's."""
    if name and resumed:
        raise UsageError(_("`{id}` keeps its name; leave `--name` out").format(id=resumed.id))
    return check_name(project, name) if name else resumed.name if resumed else ""


def _prompt_of(
    spec: TrainSpec, backend: Backend, model: Path, dataset: Dataset, folder: Path, *, asks: bool
) -> tuple[ChatTemplate | None, Family | None]:
    """Return the chat template that makes the tokens, or the family whose template the framework has."""
    if spec.tokens == "once":
        check_takes_tokens(backend, spec)
        return chat_template_of(spec, model, dataset, folder), None
    family = get_family(spec.template) if spec.template else detect_family(model)
    family.cell(spec.backend)
    if asks:
        ask_about_template(spec, model)
    return None, family


def _target(spec: TrainSpec, backend: Backend) -> str:
    """Return the format of the file that a training reads."""
    return MESSAGES if spec.tokens == "once" else backend.target


def build_only(ready: Prepared) -> None:
    """Build tokenizer, dataset and model in the framework itself, in one process without DeepSpeed, and train nothing.

    No file is left behind. Raises FrameworkError, with the end of what the framework said, where it fails.
    """
    backend = load_backend(ready.plan.spec.backend)
    say(_("building tokenizer, dataset and model with {title} ...").format(title=backend.title))
    with tempfile.TemporaryDirectory(prefix="ftbridge-check-") as folder:
        one_process = msgspec.structs.replace(ready.plan.machine, processes=1, gpus=ready.plan.machine.gpus[:1])
        plan = msgspec.structs.replace(ready.plan, run=Path(folder), machine=one_process, deepspeed=None)
        launch = make_launch(plan, backend, ready.python)
        for name, content in launch.files.items():
            write_atomic(Path(name), content)
        env = {**launch.env, "HF_DATASETS_CACHE": str(plan.run / "cache")}
        argv = (str(ready.python), str(SCRIPTS / "build_only.py"), launch.argv[-1])
        log = plan.run / "log.txt"
        code = execute(msgspec.structs.replace(launch, argv=argv, env=env), log, lambda: None)
        if code:
            raise FrameworkError(
                _("{title} cannot build what the config names (exit status {code}){failure_message}").format(
                    title=backend.title, code=code, failure_message=failure_message(log, code)
                )
            )


def describe(ready: Prepared, memory: str = "", time: str = "") -> list[tuple[str, str]]:
    """Return the summary that `--dry-run` prints: pairs of a title, which may be "", and its text.

    What matters most stands first; `memory` is what the pre-flight says of it, `time` what earlier runs tell.
    """
    plan = ready.plan
    deepspeed = _("yes") if plan.deepspeed else _("no")
    trained = parameters_in_words(*trained_parameters(plan, ready.python))
    name = f"TIME-{plan.spec.backend}-{file_stem(plan.dataset, plan.parts)}"
    folder = (
        _("{path}, from {resume}").format(path=ready.resumed.path, resume=plan.resume)
        if ready.resumed
        else str(ready.project.runs / name)
    )
    changed = [
        *_changed_options(plan.spec),
        *(_("--set {key}={value}").format(key=key, value=value) for key, value in plan.spec.set.items()),
    ]
    return [
        *_dataset_in_words(plan),
        *([(_("tokens"), _tokens_in_words(plan.tokens.counts))] if plan.tokens else []),
        (
            _("validation"),
            joined(_(", "), (plan.validation.title, counted(plan.validation.entry.samples, "sample")))
            if plan.validation
            else _("none"),
        ),
        (
            _("steps"),
            _("{steps_in_words}, {warmup_steps} of them warm-up").format(
                steps_in_words=steps_in_words(plan), warmup_steps=plan.warmup_steps
            ),
        ),
        *_step_to_go_on_from(plan),
        *([(_("time"), time)] if time else []),
        *([(_("memory"), memory)] if memory else []),
        *([(_("trains"), trained)] if trained else []),
        (
            _("runs on"),
            _("{devices_in_words} in {dtype}; DeepSpeed: {deepspeed}").format(
                devices_in_words=devices_in_words(plan), dtype=plan.machine.dtype, deepspeed=deepspeed
            ),
        ),
        (_("backend"), load_backend(plan.spec.backend).title),
        (_("model"), joined(_(", "), (plan.spec.model, _prompt_in_words(plan)))),
        (_("options"), _("all as by default") if not changed else changed[0]),
        *(("", option) for option in changed[1:]),
        (_("run folder"), folder),
    ]


def _step_to_go_on_from(plan: TrainPlan) -> Iterator[tuple[str, str]]:
    """Yield the step of the checkpoint that a training goes on from, where there is one that tells it."""
    accumulation = plan.spec.gradient_accumulation_steps
    step = load_backend(plan.spec.backend).checkpoint_step(plan.resume, accumulation) if plan.resume else None
    if step is not None:
        yield "", _("goes on from step {step:g}").format(step=step)


def _dataset_in_words(plan: TrainPlan) -> Iterator[tuple[str, str]]:
    """Yield the dataset with its number of samples; of several each with its own, then all together."""
    samples = counted(plan.entry.samples, "sample")
    if not plan.parts:
        yield _("dataset"), joined(_(", "), (plan.dataset, samples))
        return
    for number, part in enumerate(plan.parts):
        total = counted(part.total, "sample")
        yield (
            "" if number else _("dataset"),
            _("{name}, {taken:,} of {samples}").format(name=part.name, taken=part.samples, samples=total)
            if part.samples < part.total
            else joined(_(", "), (part.name, total)),
        )
    if len(plan.parts) > 1:
        yield "", _("together {samples}, mixed by the seed {seed}").format(samples=samples, seed=plan.spec.seed)


def _prompt_in_words(plan: TrainPlan) -> str:
    if plan.chat_template:
        thinking = (
            _(", thinking {thinking}").format(thinking=plan.chat_template.thinking)
            if plan.chat_template.thinking
            else ""
        )
        if plan.spec.chat_template is None:
            return _("with its own chat template{thinking}").format(thinking=thinking)
        return _("with {origin}{thinking}").format(origin=plan.chat_template.origin, thinking=thinking)
    return f"{plan.family.title} ({plan.family.status})" if plan.family else ""


def _tokens_in_words(counts: Counts) -> str:
    """Return what is trained on in an epoch, such as `21 samples in 4 rows, 3,100 tokens, 1,200 of them learned`."""
    samples = _("{samples} in {rows}").format(
        samples=counted(counts.samples, "sample"), rows=counted(counts.rows, "row")
    )
    return _("{samples}, {tokens}, {answer_tokens:,} of them learned").format(
        samples=samples, tokens=counted(counts.tokens, "token"), answer_tokens=counts.answer_tokens
    )


def _changed_options(spec: TrainSpec) -> list[str]:
    """Return the options that differ from their defaults, as they are typed, each with its default."""
    return [
        _("--{text} {as_typed} (default: {default_as_typed})").format(
            text=name.replace("_", "-"), as_typed=as_typed(getattr(spec, name)), default_as_typed=as_typed(default)
        )
        for name, default in defaults().items()
        if getattr(spec, name) != default
    ]


def resolve_datasets(project: Project, spec: TrainSpec, target: str) -> tuple[Dataset, Dataset | None]:
    """Return the dataset that is trained on, with files of `target`, and that which is validated on, None for none.

    Several are mixed into one. Raises UsageError or InputError where one is not there, cannot be read, or is needed.
    """
    folder = (project.folder / spec.dataset_dir).resolve()
    cache = project.folder / DATASETS
    validation = validation_choices(folder, spec)
    # LLaMA-Factory reads both from one folder.
    mix = not target and (is_mixture(spec.datasets) or is_mixture(validation))
    dataset = resolve_choices(folder, spec.datasets, target, cache, spec.seed, mix=mix)
    if not validation:
        return dataset, None
    return dataset, resolve_choices(folder, validation, target, cache, spec.seed, mix=mix)


def validation_choices(folder: Path, spec: TrainSpec) -> tuple[DatasetChoice, ...]:
    """Return what is validated on, () for no validation; raises UsageError where early stopping would have none."""
    if spec.validation_dataset != "auto":
        return () if spec.validation_dataset == "none" else dataset_choices(spec.validation_dataset)
    names = [registry.validation_part(registry.look_up(folder, each.name)[0]) for each in spec.datasets]
    known = registry.read_entries(folder)
    found = tuple(DatasetChoice(name) for name in dict.fromkeys(names) if name in known)
    if spec.early_stopping and not found:
        raise UsageError(
            _(
                "`--early-stopping` watches the validation loss, and there is no dataset `{name}` in "
                "`{file}`; name one with `--validation-dataset`, or convert again with `--split "
                "8:1:1`"
            ).format(name=names[0], file=folder / registry.FILE)
        )
    return found


def make_launch(plan: TrainPlan, backend: Backend, python: Path) -> Launch:
    """Return argv, environment variables and files of a training; `files` maps absolute paths to content."""
    processes = plan.machine.processes
    script_spec = {
        "script": str(backend.script),
        "arguments": backend.arguments(plan),
        "device": plan.machine.device,
        "dtype": plan.machine.dtype,
        "deepspeed": plan.deepspeed is not None,
        "trust_remote_code": plan.spec.trust_remote_code,
        "bos": plan.cell.prompt.bos if plan.cell else (),
        "eos": plan.cell.prompt.eos if plan.cell else "",
        "packed": plan.tokens is not None and plan.spec.packing,
    }
    files = {str(plan.run / name): content for name, content in backend.render(plan).items()}
    files[str(plan.run / "launch.json")] = msgspec.json.format(msgspec.json.encode(script_spec)).decode()
    # One rendezvous per run, on a port that is free: two trainings on one machine do not meet.
    torchrun = (
        *(str(SCRIPTS / "distributed.py"), f"--nproc-per-node={processes}"),
        # Else the processes look for each other by this machine's own name, which need not resolve.
        *("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"),
    )
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, host.cores() // processes)
    env = {**CHILD_ENV, **devices.device_variables(plan.machine.gpus), "OMP_NUM_THREADS": str(threads)}
    env |= trackers.environment_variables(plan)
    if plan.machine.device == "cpu":
        env["DS_ACCELERATOR"] = "cpu"
    env |= backend.environment_variables(plan)
    if not plan.spec.trust_remote_code:
        env["HF_HUB_OFFLINE"] = "1"  # the model is here already
    argv = (
        str(python),
        *(torchrun if plan.distributed else ()),
        str(SCRIPTS / "run_backend.py"),
        str(plan.run / "launch.json"),
    )
    return Launch(argv, env, str(plan.run), files)


def dataset_hashes(plan: TrainPlan) -> dict[str, str]:
    """Return the sha256 by file name of the files that are trained and validated on, and of the sources they came from.

    Those of the files are as they are now, those of the sources as the conversion recorded them.
    """
    validation = {**plan.validation.entry.sources, **plan.validation.sha256} if plan.validation else {}
    return {**plan.entry.sources, **validation, **plan.sha256}


def steps_in_words(plan: TrainPlan) -> str:
    """Return the number of optimiser steps as a message has it, such as `about 40 optimiser steps`."""
    return f"{'about ' if plan.estimated else ''}{counted(plan.steps, 'optimizer step')}"


def devices_in_words(plan: TrainPlan) -> str:
    """Return what computes, as a message has it, such as `2 GPUs`."""
    if plan.machine.device == "cuda":
        return counted(plan.machine.processes, "GPU")
    return (
        _("the CPU")
        if plan.machine.processes == 1
        else _("the CPU, {processes} processes").format(processes=plan.machine.processes)
    )
