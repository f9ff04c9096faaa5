"""XTuner 0.2.0: its config, its arguments, what it logs and what it leaves behind."""

import ast
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.plugins import LogReader
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.backends.trackers import tracker_folder
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.runs.training_log import has_numbers
from ftbridge.templates.render import render_python

title = "XTuner"
module = "xtuner"
packages = (module,)
script = SCRIPTS / "xtuner_backend.py"
target = "xtuner"
token_columns = ("input_ids", "labels", "position_ids")  # unpacked, default_collate_fn.py makes mask and positions
drops_unlabelled = True
thoughts = _("trains on them behind the template's empty thinking block")
CONFIG = "xtuner_config.py"
# Values in DeepSpeed's reduce bucket where a config leaves that to XTuner, which has no rule such as transformers'
# (hidden size squared): as many as DeepSpeed fetches ahead of its own accord.
AUTO_BUCKET = 50_000_000
# What names code, and what says where things go, is not the user's to set.
_FIXED_KEYS = {"type", "work_dir", "launcher"}
# Where the optimisers' classes are, and what they are given beside learning rate and weight decay: the values that
# transformers' Trainer, and so LLaMA-Factory, takes.
_ADAM_OPTIONS = {"betas": (0.9, 0.999)}
_OPTIMIZERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adamw": ("torch.optim", "AdamW", _ADAM_OPTIONS),
    "adamw_8bit": ("bitsandbytes.optim", "AdamW8bit", _ADAM_OPTIONS),
    "paged_adamw_32bit": ("bitsandbytes.optim", "PagedAdamW32bit", _ADAM_OPTIONS),
    "paged_adamw_8bit": ("bitsandbytes.optim", "PagedAdamW8bit", _ADAM_OPTIONS),
    "adafactor": ("transformers", "Adafactor", {"scale_parameter": False, "relative_step": False}),
    "sgd": ("torch.optim", "SGD", {}),
}


def render(plan: TrainPlan) -> dict[str, str]:
    """Return the config file, and the DeepSpeed file where one is used, by name; the config comes first.

    Raises UsageError for an option that XTuner lacks, or a `--set` that it would not know.
    """
    spec = plan.spec
    _refuse_unsupported(plan)
    optimizer_module, optimizer, optimizer_options = _OPTIMIZERS[spec.optimizer]
    accumulation = spec.gradient_accumulation_steps
    text = render_python(
        "xtuner.py.j2",
        plan=plan,
        spec=spec,
        cell=plan.cell,
        data_file="" if plan.tokens else str(plan.dataset_dir / plan.entry.files[target]),
        output=str(plan.run / "output"),
        # mmengine counts iterations, not optimiser steps.
        warmup_iterations=min(plan.warmup_steps * accumulation, plan.iterations),
        schedule=_schedule(plan),
        save_iterations=plan.save_steps * accumulation,
        validation_file=_validation_file(plan),
        validation_iterations=plan.validation_steps * accumulation,
        tracking={name: tracker_folder(plan, name) for name in spec.track},
        log_iterations=_log_iterations(plan),
        optimizer_module=optimizer_module,
        optimizer=optimizer,
        optimizer_options=optimizer_options,
    )
    _check_set_options(spec, text)
    files = {CONFIG: text}
    if config := deepspeed_config(plan):
        files["deepspeed.json"] = msgspec.json.format(msgspec.json.encode(config)).decode()
    return files


def _schedule(plan: TrainPlan) -> dict[str, int]:
    """Return the iterations that make the first step, the first at the full rate, and the one after the last."""
    accumulation, warmup = plan.spec.gradient_accumulation_steps, min(plan.warmup_steps, plan.steps)
    steps = {"begin": 0, "full": warmup, "end": max(plan.steps, warmup + 1)}
    return {name: (step + 1) * accumulation - 1 for name, step in steps.items()}


def _log_iterations(plan: TrainPlan) -> int:
    """Return the iterations between two lines of the log, which are whole steps where tokens are ready."""
    accumulation = plan.spec.gradient_accumulation_steps
    if plan.tokens:
        return min(max(1, min(10, plan.steps // 20)) * accumulation, plan.iterations)
    return max(1, min(10 * accumulation, plan.iterations // 20))


def _validation_file(plan: TrainPlan) -> str:
    """Return what is validated on: a file, or the folder of its ready tokens; "" for nothing."""
    if plan.validation_tokens:
        return str(plan.validation_tokens.folder)
    return str(plan.validation.folder / plan.validation.entry.files[target]) if plan.validation else ""


def deepspeed_config(plan: TrainPlan) -> dict[str, Any] | None:
    """Return the DeepSpeed config without "auto", and with XTuner's own optimiser allowed, which offload needs."""
    return {"zero_force_ds_cpu_optimizer": False, **_without_auto(plan.deepspeed)} if plan.deepspeed else None


def arguments(plan: TrainPlan) -> list[str]:
    """Return what follows `xtuner train` for the files that `render` gave, written into the run's folder."""
    options = [f"{key}={value}" for key, value in plan.spec.set.items()]
    return [
        str(plan.run / CONFIG),
        *("--work-dir", str(plan.run / "output")),
        *(("--deepspeed", str(plan.run / "deepspeed.json")) if plan.deepspeed else ()),
        *(("--resume", str(plan.resume)) if plan.resume else ()),
        *(("--cfg-options", *options) if options else ()),
    ]


def read_log(run: Path, new_lines: LogReader, accumulation: int) -> Iterator[dict[str, float]]:
    """Yield what XTuner has logged since the last call: optimiser step, loss and learning rate, or validation loss."""
    for file in sorted((run / "output").glob("*/vis_data/scalars.json")):
        for line in new_lines(file):
            if has_numbers(line, "iter", "loss", "lr"):
                yield {"step": line["iter"] / accumulation, "loss": line["loss"], "learning_rate": line["lr"]}
            elif has_numbers(line, "step", "val_loss"):
                yield {"step": line["step"] / accumulation, "validation_loss": line["val_loss"]}


def checkpoints(run: Path, *, best: bool = False) -> list[Path]:
    """Return the readable checkpoints, oldest first: `iter_N.pth`, a file or (DeepSpeed) a folder.

    mmengine keeps the best one apart.
    """
    names = "best_val_loss_iter_*.pth" if best else "iter_*.pth"
    numbered = [(path.stem.rpartition("_")[2], path) for path in (run / "output").glob(names)]
    in_order = sorted((int(number), path) for number, path in numbered if number.isdecimal())
    return [path for _, path in in_order if _has_readable_weights(path)]


def checkpoint_step(checkpoint: Path, accumulation: int) -> float:
    """Return the optimiser step of a checkpoint; XTuner's names count iterations."""
    return int(checkpoint.stem.rpartition("_")[2]) / accumulation


def can_resume(checkpoint: Path, processes: int) -> bool:
    """Tell whether a checkpoint is whole: mmengine writes all into one file, DeepSpeed a file for each process."""
    return checkpoint.is_file() or len([*checkpoint.glob("*optim_states.pt")]) == processes


def environment_variables(plan: TrainPlan) -> dict[str, str]:
    """Return what lets torch load a checkpoint: XTuner's hold mmengine's objects, which it must unpickle in full."""
    return {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if plan.resume else {}


def steps(plan: TrainPlan) -> int:
    """Return the optimiser steps; gradients are accumulated across the end of an epoch."""
    return math.ceil(plan.iterations / plan.spec.gradient_accumulation_steps)


def weight_bytes(plan: TrainPlan, config: dict[str, Any]) -> int:
    """Return the bytes of a value that is not quantised: prepare_model_for_kbit_training casts it to float32."""
    del config
    return 2 if plan.spec.method == "full" and plan.deepspeed is not None else 4


def loads_into_main_memory(plan: TrainPlan) -> bool:
    """Tell whether each process loads the whole model into main memory; ZeRO-3 shares it out meanwhile."""
    return plan.zero_stage != 3  # noqa: PLR2004


def _has_readable_weights(path: Path) -> bool:
    # DeepSpeed's ZeRO-3 writes a file for each process.
    files = sorted(path.glob("*mp_rank_00_model_states.pt")) if path.is_dir() else [path]
    return bool(files) and all(file.is_file() and zipfile.is_zipfile(file) for file in files)


def _refuse_unsupported(plan: TrainPlan) -> None:
    """Raise UsageError for an option that XTuner lacks."""
    spec = plan.spec
    if spec.neftune_alpha is not None:
        raise UsageError(_("XTuner has no NEFTune: leave `neftune_alpha` out, or take `--backend llamafactory`"))
    if plan.estimated and spec.epochs % 1:
        raise UsageError(
            _(
                "XTuner packs for whole epochs only, and `epochs` is {epochs}: take a whole number, or `--max-steps`"
            ).format(epochs=spec.epochs)
        )


def _without_auto(config: dict[str, Any]) -> dict[str, Any]:
    """Return a DeepSpeed config without "auto": XTuner decides some of it and dies on the rest; DeepSpeed has defaults.

    Its default for the reduce bucket would take a GiB of each GPU.
    """
    decided: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            decided[key] = _without_auto(value)
        elif value != "auto":
            decided[key] = value
        elif key == "reduce_bucket_size":
            decided[key] = AUTO_BUCKET
    return decided


def _check_set_options(spec: TrainSpec, config: str) -> None:
    """Raise UsageError for what mmengine would take in silence: a key of `--set` that nothing in the config reads."""
    variables = _variables(config)
    for key in spec.set:
        parts = key.split(".")
        if _FIXED_KEYS.intersection(parts) or any(part.startswith("_") for part in parts):
            raise UsageError(_("`--set {key}` is not possible: ftbridge decides that").format(key=key))
        if parts[0] in {"tokenizer", "train_dataset"}:  # mmengine has copied them to where they are used
            raise UsageError(
                _("`--set {key}` would change nothing; begin it with `train_dataloader.dataset.`").format(key=key)
            )
        known = variables
        for part in parts if len(parts) == 1 else parts[:-1]:  # the last of several may be new
            if part not in known:
                raise UsageError(
                    _("XTuner's config has no `{part}` for `--set {key}`{hint}").format(
                        part=part, key=key, hint=closest(part, known)
                    )
                )
            known = _dict_items(known[part], variables)


def _variables(config: str) -> dict[str, ast.expr]:
    """Return the variables that a config in Python assigns, with their expressions."""
    variables: dict[str, ast.expr] = {}
    for node in ast.parse(config).body:
        if isinstance(node, ast.Assign):
            variables |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return variables


def _dict_items(value: ast.expr, variables: dict[str, ast.expr]) -> dict[str, ast.expr]:
    """Return the items of `dict(...)`, or of the variable that holds one; none of anything else."""
    if isinstance(value, ast.Name):
        value = variables.get(value.id, value)
    if not isinstance(value, ast.Call):
        return {}
    return {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}
