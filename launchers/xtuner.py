"""XTuner 0.2.0: its config, its arguments, what it logs and what it leaves behind."""

import ast
import zipfile
from pathlib import Path

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.spec import TrainSpec
from ftbridge.core.strict import closest
from ftbridge.launchers.plan import Plan
from ftbridge.templates.render import render_python

title = "XTuner"
module = "xtuner"
CONFIG = "xtuner_config.py"
# What names code, and what says where things go, is not the user's to set.
_FIXED = {"type", "work_dir", "launcher"}


def render(plan: Plan) -> dict[str, str]:
    """Return the config file, and the DeepSpeed file where one is used, by name; the config comes first.

    Raises UsageError for a `--set` that XTuner would not know.
    """
    spec = plan.spec
    accumulation = spec.gradient_accumulation_steps
    text = render_python(
        "xtuner.py.j2",
        plan=plan,
        spec=spec,
        cell=plan.family.cell("xtuner"),
        data_file=str(plan.dataset_dir / plan.entry.files["xtuner"]),
        output=str(plan.run / "output"),
        # mmengine counts iterations, not optimiser steps.
        warmup_iterations=min(plan.warmup_steps * accumulation, plan.iterations),
        save_iterations=spec.save_steps * accumulation,
        log_iterations=max(1, min(10 * accumulation, plan.iterations // 20)),
    )
    _check_options(spec, text)
    files = {CONFIG: text}
    if plan.deepspeed:
        # "auto" kills XTuner here, and offload needs its own optimiser allowed (measured).
        deepspeed = {
            key: value for key, value in plan.deepspeed.items() if (key, value) != ("train_batch_size", "auto")
        }
        files["deepspeed.json"] = msgspec.json.format(
            msgspec.json.encode({"zero_force_ds_cpu_optimizer": False, **deepspeed})
        ).decode()
    return files


def arguments(plan: Plan) -> list[str]:
    """Return what follows `xtuner train` for the files that `render` gave, written into the run's folder."""
    options = [f"{key}={value}" for key, value in plan.spec.set.items()]
    return [
        str(plan.run / CONFIG),
        *("--work-dir", str(plan.run / "output")),
        *(("--deepspeed", str(plan.run / "deepspeed.json")) if plan.deepspeed else ()),
        *(("--resume", str(plan.resume)) if plan.resume else ()),
        *(("--cfg-options", *options) if options else ()),
    ]


def progress(run: Path, accumulation: int) -> list[dict[str, float]]:
    """Return what XTuner logged so far: optimiser step, loss and learning rate, in order."""
    found: dict[int, dict[str, float]] = {}
    for file in sorted((run / "output").glob("*/vis_data/scalars.json")):
        for line in file.read_bytes().splitlines():
            try:
                record = msgspec.json.decode(line)
            except msgspec.DecodeError:  # the last line may be half written
                continue
            if "loss" in record:
                step = record["iter"] / accumulation
                found[record["iter"]] = {"step": step, "loss": record["loss"], "learning_rate": record["lr"]}
    return [found[key] for key in sorted(found)]


def checkpoints(run: Path) -> list[Path]:
    """Return the readable checkpoints, oldest first: `iter_N.pth`, a file or (DeepSpeed) a folder."""
    found = sorted((run / "output").glob("iter_*.pth"), key=lambda path: int(path.stem.partition("_")[2]))
    return [path for path in found if _readable(path)]


def _readable(path: Path) -> bool:
    file = path / "mp_rank_00_model_states.pt" if path.is_dir() else path
    return file.is_file() and zipfile.is_zipfile(file)


def _check_options(spec: TrainSpec, config: str) -> None:
    """Refuse what mmengine would take in silence: a key that nothing in the config reads."""
    top = {
        target.id: node.value
        for node in ast.parse(config).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for key in spec.set:
        parts = key.split(".")
        if _FIXED.intersection(parts) or any(part.startswith("_") for part in parts):
            raise UsageError(f"`--set {key}` is not possible: ftbridge decides that")
        if parts[0] in {"tokenizer", "train_dataset"}:  # mmengine has copied them to where they are used
            raise UsageError(f"`--set {key}` would change nothing; begin it with `train_dataloader.dataset.`")
        known = top
        for part in parts if len(parts) == 1 else parts[:-1]:  # the last of several may be new
            if part not in known:
                raise UsageError(f"XTuner's config has no `{part}` for `--set {key}`{closest(part, known)}")
            known = _keys(known[part], top)


def _keys(value: ast.expr, top: dict[str, ast.expr]) -> dict[str, ast.expr]:
    """Return what `dict(...)`, or the name of one, holds."""
    if isinstance(value, ast.Name):
        value = top.get(value.id, value)
    return {word.arg: word.value for word in value.keywords if word.arg} if isinstance(value, ast.Call) else {}
