"""The pre-flight: the checks of a plan before its training starts, for what would end it early.

It takes at most three seconds and imports neither torch nor transformers: it reads headers, counts the tokens of a few
samples with `tokenizers`, and takes from nvidia-smi what was asked already.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.core.console import counted, natural_size, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import Shape, shapes
from ftbridge.core.plugins import load_backend
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.plan import TrainPlan, paths_outside_run
from ftbridge.launchers.environment.checklist import Check, checks_as_text
from ftbridge.launchers.environment.gpu_checks import environment_remedy, interpreter_checks, shared_memory_checks
from ftbridge.launchers.environment.own_code import known_model_types
from ftbridge.launchers.environment.venv import broken_imports, installed_versions
from ftbridge.launchers.hardware.host import free_space
from ftbridge.launchers.preflight.combinations import combination_checks
from ftbridge.launchers.preflight.cutoff import CutoffEstimate, dataset_files, estimate_cutoff, spread_samples
from ftbridge.launchers.preflight.lora_targets import target_checks
from ftbridge.launchers.preflight.markers import mark_checks
from ftbridge.launchers.preflight.memory import memory_checks
from ftbridge.launchers.preflight.memory_estimate import checkpoint_size, count_parameters
from ftbridge.launchers.preflight.model import folder_checks, shapes_in_memory, template_checks, tokenizer_checks
from ftbridge.launchers.preflight.tokens import agreement_checks, token_checks


def preflight_checks(plan: TrainPlan, python: Path, runs: Path) -> list[Check]:
    """Return all checks of `plan`, for the interpreter `python` and checkpoints below the folder `runs`."""
    installed = installed_versions(python)
    transformers = installed.get("transformers", "")
    tokenizer, error = _read_tokenizer(plan.model / "tokenizer.json")
    tensors: dict[str, Shape] = {}
    try:
        config, tensors = _config_and_shapes(plan, transformers)
        checks = folder_checks(plan, config, tensors, transformers, known_model_types(python))
    except InputError as problem:
        config = {}
        checks = [Check("model", "failure", str(problem), _("copy or download the model again"))]
    checks += tokenizer_checks(plan, tokenizer, error, transformers)
    checks += template_checks(plan) if config else []
    checks += [*_dataset_checks(plan, tokenizer), _steps_check(plan)]
    checks += combination_checks(plan, config, installed)
    checks += agreement_checks(plan)
    if places := paths_outside_run(plan.deepspeed):
        named = joined(", ", (f"`{key}` (`{value}`)" for key, value in places.items()))
        found = _("`{deepspeed}` names places outside the run's folder, to be read or written: {named}").format(
            deepspeed=plan.spec.deepspeed, named=named
        )
        checks.append(
            Check("DeepSpeed", "warning", found, _("make sure that you want that; `../` and `/` lead outside"))
        )
    if plan.machine.gpus:
        checks += interpreter_checks(python, plan.machine.gpus)
        checks += shared_memory_checks() if plan.machine.processes > 1 else []
    if tensors:
        checks += target_checks(plan, config, tensors, transformers)
        checks += [_disk_check(plan, tensors, runs), *memory_checks(plan, tensors, config)]
    return checks


def trained_parameters(plan: TrainPlan, python: Path) -> tuple[int, int]:
    """Return how many parameters a training trains, and of how many in all.

    Both are 0 where that cannot be told: of a model that is pickled, damaged, or was quantised before.
    """
    try:
        config, tensors = _config_and_shapes(plan, installed_versions(python).get("transformers", ""))
    except InputError:  # which the pre-flight tells
        return 0, 0
    return count_parameters(plan, tensors) if tensors and not config.get("quantization_config") else (0, 0)


def _config_and_shapes(plan: TrainPlan, transformers: str) -> tuple[dict[str, Any], dict[str, Shape]]:
    """Return the model's config.json, and the shapes of its weights in memory."""
    config = read_json(plan.model / "config.json")
    return config, shapes_in_memory(shapes(plan.model), plan, config, transformers)


def import_checks(plan: TrainPlan, python: Path) -> list[Check]:
    """Return a failure for each module that this training imports and that cannot be imported with its interpreter.

    The interpreter is asked once for its packages, cards and drivers, which takes up to half a minute. What is not
    installed and not needed by this training is nobody's fault.
    """
    try:
        broken = broken_imports(python, [plan.spec.backend])
    except (SetupError, OSError) as error:
        return [Check("environment", "failure", str(error), environment_remedy(python))]
    installed, spec = installed_versions(python), plan.spec
    not_needed = set() if plan.deepspeed is not None else {"deepspeed"}
    if spec.method != "qlora" and not spec.optimizer.startswith("paged") and not spec.optimizer.endswith("8bit"):
        not_needed.add("bitsandbytes")
    return [
        Check(module, "failure", _("cannot be imported: {error}").format(error=error), environment_remedy(python))
        for module, error in broken.items()
        if module in installed or module not in not_needed
    ]


def refuse_failures(checks: list[Check]) -> None:
    """Print the warnings; raises InputError with the failures and their remedies where there are any."""
    for check in checks:
        if check.status == "warning":
            say(checks_as_text([check]))
    if failed := [check for check in checks if check.status == "failure"]:
        raise InputError(
            _(
                "this training would fail, so it was not started:\n{checks_as_text}\n`--dry-run` shows "
                "all checks, and `--no-preflight` starts without them"
            ).format(checks_as_text=checks_as_text(failed))
        )


def _read_tokenizer(file: Path) -> tuple[Any, str]:
    """Return the tokenizer in a tokenizer.json, and why it cannot be read; None and "" where there is no such file."""
    if not file.is_file():
        return None, ""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file)), ""
    except Exception as error:  # noqa: BLE001 - it raises no class of its own
        return None, str(error)


def _dataset_checks(plan: TrainPlan, tokenizer: Any, name: str = "dataset") -> list[Check]:
    try:
        entry, files = dataset_files(plan, MESSAGES if plan.tokens else load_backend(plan.spec.backend).target)
    except InputError as error:
        return [Check(name, "failure", joined(": ", (f"`{plan.title}`", error)), _("convert its source again"))]
    if not plan.entry.samples:
        return [
            Check(
                name, "failure", _("`{title}` has no samples").format(title=plan.title), _("convert its source again")
            )
        ]
    found = [Check(name, "ok", joined(_(", "), (f"`{plan.title}`", counted(plan.entry.samples, "sample"), files[0])))]
    if plan.edited:
        remedy = _("run.json says what is read; convert the source again to undo the edit")
        found.append(Check(name, "warning", joined(": ", (f"`{plan.title}`", plan.edited)), remedy))
    if other := plan.validation:
        validation = {"dataset": other.name, "dataset_dir": other.folder, "entry": other.entry, "validation": None}
        validation |= {"parts": other.parts}
        validation |= {"edited": other.edited}
        found += _dataset_checks(msgspec.structs.replace(plan, **validation), None, _("validation dataset"))
    if name == "dataset":
        samples = [*spread_samples(entry, files)]
        if plan.tokens:
            found += token_checks(plan.spec, plan.tokens.counts)
        elif tokenizer:
            found.append(_cutoff_check(plan.spec.cutoff_length, estimate_cutoff(plan, samples, tokenizer)))
        found += mark_checks(samples, plan.family, plan.spec.backend)
    return found


def _cutoff_check(cutoff: int, found: CutoffEstimate) -> Check:
    if not found.samples:
        return Check("cutoff length", "failure", _("no sample of the data can be read"), _("convert its source again"))
    longest = _("of {samples} checked, the longest has about {tokens}").format(
        samples=counted(found.samples, "sample"), tokens=counted(found.longest, "token")
    )
    if not found.cut and not found.questions:
        return Check(
            "cutoff length", "ok", _("{longest}; {cutoff} cuts nothing").format(longest=longest, cutoff=cutoff)
        )
    losses = []
    if found.questions:
        losses.append(
            _("{questions:,} of {samples} are cut").format(
                questions=found.questions, samples=counted(found.samples, "question")
            )
        )
    if found.cut:
        losses.append(
            _("{cut:,} ({share:.1%}) answers are cut, {lost:,} of them entirely").format(
                cut=found.cut, share=found.cut / found.samples, lost=found.lost
            )
        )
    share = joined(_(", "), losses)
    remedy = _(
        "`--cutoff-length {longest}` cuts nothing; `ftbridge preview --stats` counts all samples exactly"
    ).format(longest=found.longest)
    status: Literal["warning", "failure"] = "failure" if found.lost == found.samples else "warning"
    return Check(
        "cutoff length",
        status,
        _("{longest}; with {cutoff}, {share}").format(longest=longest, cutoff=cutoff, share=share),
        remedy,
    )


def _steps_check(plan: TrainPlan) -> Check:
    found = _("{optimizer_step}, {warmup_steps} of them warm-up").format(
        optimizer_step=counted(plan.steps, "optimizer step"), warmup_steps=plan.warmup_steps
    )
    if plan.steps > plan.warmup_steps:
        return Check("steps", "ok", found)
    remedy = _("take more `--epochs`, or smaller `--gradient-accumulation-steps` or `--micro-batch-size`")
    return Check("steps", "warning", _("{found}: the learning rate never gets past it").format(found=found), remedy)


def _disk_check(plan: TrainPlan, tensors: dict[str, Shape], runs: Path) -> Check:
    """Return a check of the disk, with all checkpoints that lie on it at the same time."""
    free, at = free_space(runs)
    each = checkpoint_size(plan, tensors)
    wanted = each * plan.kept_checkpoints
    found = _("about {wanted} for {checkpoints} of {each}, one every {steps}; {free} are free in {at}").format(
        wanted=natural_size(wanted, binary=True),
        checkpoints=counted(plan.kept_checkpoints, "checkpoint"),
        each=natural_size(each, binary=True),
        steps=counted(plan.save_steps, "step"),
        free=natural_size(free, binary=True),
        at=at,
    )
    if wanted <= free:
        return Check("disk space", "ok", found)
    smaller = _("`--save-limit`") if plan.spec.method == "full" else _("`--save-limit` or `--lora-rank`")
    return Check("disk space", "failure", found, _("make room, or use a smaller {smaller}").format(smaller=smaller))
