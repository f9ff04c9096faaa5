"""LLaMA-Factory 0.9.5: its config, its arguments, what it logs and what it leaves behind."""

from pathlib import Path

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.files import safetensors_header
from ftbridge.launchers.plan import Plan
from ftbridge.launchers.tracking import folder, project_name, swanlab_mode
from ftbridge.templates.render import render_yaml

title = "LLaMA-Factory"
module = "llamafactory"
CONFIG = "llamafactory_config.yaml"
_FIXED = {"dataset_dir", "do_train", "output_dir", "resume_from_checkpoint", "stage"}


def render(plan: Plan) -> dict[str, str]:
    """Return the config file, and the DeepSpeed file where one is used, by name; the config comes first.

    Raises UsageError for a `--set` of what ftbridge decides; unknown keys LLaMA-Factory refuses itself.
    """
    for key in plan.spec.set:
        if key in _FIXED:
            raise UsageError(f"`--set {key}` is not possible: ftbridge decides that")
    text = render_yaml(
        "llamafactory.yaml.j2",
        plan=plan,
        spec=plan.spec,
        cell=plan.family.cell("llamafactory"),
        output=str(plan.run / "output"),
        dataset_dir=str(plan.dataset_dir),
        deepspeed_file=str(plan.run / "deepspeed.json"),
        tracking={name: folder(plan, name) for name in plan.spec.track},
        swanlab_mode=swanlab_mode(),
        tracking_project=project_name(plan),
        logging_steps=max(1, min(10, plan.steps // 20)),
    )
    files = {CONFIG: text}
    if plan.deepspeed:
        files["deepspeed.json"] = msgspec.json.format(msgspec.json.encode(plan.deepspeed)).decode()
    return files


def arguments(plan: Plan) -> list[str]:
    """Return what follows `llamafactory-cli train` for the files that `render` gave.

    `--set` comes after the file: a key that the file has already would stop it as a duplicate there.
    """
    return [str(plan.run / CONFIG), *(f"{key}={value}" for key, value in plan.spec.set.items())]


def progress(run: Path, accumulation: int) -> list[dict[str, float]]:
    """Return what LLaMA-Factory logged so far: optimiser step, loss and learning rate, or validation loss, in order."""
    del accumulation  # it counts optimiser steps itself
    file = run / "output" / "trainer_log.jsonl"
    found: list[dict[str, float]] = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:  # the last line may be half written
            continue
        if "loss" in record:
            found.append(
                {
                    "step": record["current_steps"],
                    "loss": record["loss"],
                    "learning_rate": record.get("lr", 0.0),
                }
            )
        elif "eval_loss" in record:
            validation = {"step": record["current_steps"], "validation_loss": record["eval_loss"]}
            if validation not in found[-1:]:  # it validates once more at the end, whether it just did or not
                found.append(validation)
    return found


def checkpoints(run: Path, *, best: bool = False) -> list[Path]:
    """Return the readable checkpoints, oldest first; the last is the finished training's own.

    The best is told by the validation losses: trainer_state.json leaves the one after the last step out.
    """
    output = run / "output"
    saved = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    if best:
        losses = {record["step"]: record["validation_loss"] for record in progress(run, 1) if "loss" not in record}
        validated = [output / f"checkpoint-{step}" for step in sorted(losses, key=losses.__getitem__)]
        return [each for each in validated if _readable(each)][:1]
    return [each for each in [*saved, output] if _readable(each)]


def _readable(folder: Path) -> bool:
    files = [*folder.glob("adapter_model.safetensors"), *folder.glob("model*.safetensors")]
    return bool(files) and all(safetensors_header(file) is not None for file in files)
