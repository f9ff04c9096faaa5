"""LLaMA-Factory 0.9.5: its config, its arguments, what it logs and what it leaves behind."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import json_lines
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.plugins import LogReader
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan, offloads
from ftbridge.launchers.backends.trackers import project_name, swanlab_mode, tracker_folder
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.launchers.runs.training_log import has_numbers
from ftbridge.templates.render import render_yaml

title = "LLaMA-Factory"
module = "llamafactory"
packages = (module,)
script = SCRIPTS / "llamafactory_backend.py"
token_columns = ("input_ids", "labels", "attention_mask", "position_ids")  # its `tokenized_path`
thoughts = _("drops those that are on lines of their own, and trains on others without the empty block")
CONFIG = "llamafactory_config.yaml"
_ATTENTION = {"auto": "auto", "eager": "disabled", "sdpa": "sdpa", "flash_attention_2": "fa2"}
_FIXED_KEYS = {"dataset_dir", "do_train", "output_dir", "resume_from_checkpoint", "stage"}


def render(plan: TrainPlan) -> dict[str, str]:
    """Return the config file, and the DeepSpeed file where one is used, by name; the config comes first.

    Raises UsageError for what LLaMA-Factory lacks, and a `--set` of what ftbridge decides; unknown keys it refuses
    itself.
    """
    # model/adapter.py takes bitsandbytes' models for others, whose `quantization_method` it spells differently.
    if plan.spec.dora and plan.spec.method == "qlora":
        raise UsageError(
            _(
                "LLaMA-Factory refuses DoRA on a quantised model: leave `dora` out, or take `--method "
                "lora` or `--backend xtuner`"
            )
        )
    for key in plan.spec.set:
        if key in _FIXED_KEYS:
            raise UsageError(_("`--set {key}` is not possible: ftbridge decides that").format(key=key))
    text = render_yaml(
        "llamafactory.yaml.j2",
        plan=plan,
        spec=plan.spec,
        cell=plan.cell,
        tokens=str(plan.tokens_folder) if plan.tokens else "",
        output=str(plan.run / "output"),
        dataset_dir=str(plan.dataset_dir),
        deepspeed_file=str(plan.run / "deepspeed.json"),
        attention=_ATTENTION[plan.spec.attention],
        optimizer=_optimizer_name(plan),
        tracking={name: tracker_folder(plan, name) for name in plan.spec.track},
        swanlab_mode=swanlab_mode(),
        tracking_project=project_name(plan),
        logging_steps=max(1, min(10, plan.steps // 20)),
    )
    files = {CONFIG: text}
    if plan.deepspeed:
        files["deepspeed.json"] = msgspec.json.format(msgspec.json.encode(plan.deepspeed)).decode()
    return files


def setting_names(site_packages: Path) -> frozenset[str]:
    """Return the arguments of LLaMA-Factory and of transformers' Trainer, as their dataclasses have them."""
    files = [
        *site_packages.glob("llamafactory/hparams/*_args.py"),
        *site_packages.glob("transformers/training_args*.py"),
    ]
    classes = [
        node for file in files for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    fields = [line.target for each in classes for line in each.body if isinstance(line, ast.AnnAssign)]
    return frozenset(field.id for field in fields if isinstance(field, ast.Name))


def _optimizer_name(plan: TrainPlan) -> str:
    """Return transformers' `optim` for the plan's optimiser.

    AdamW in one kernel is its own default on a GPU; DeepSpeed's offload computes it on the CPU.
    """
    if plan.spec.optimizer != "adamw":
        return plan.spec.optimizer
    fused = plan.machine.device == "cuda" and not offloads(plan.deepspeed, "offload_optimizer")
    return "adamw_torch_fused" if fused else "adamw_torch"


def arguments(plan: TrainPlan) -> list[str]:
    """Return what follows `llamafactory-cli train` for the files that `render` gave.

    `--set` comes after the file: a key that the file has already would stop it as a duplicate there.
    """
    return [str(plan.run / CONFIG), *(f"{key}={value}" for key, value in plan.spec.set.items())]


def read_log(run: Path, new_lines: LogReader, accumulation: int) -> Iterator[dict[str, float]]:
    """Yield what LLaMA-Factory has logged since the last call: step, loss and learning rate, or validation loss."""
    del accumulation  # it counts optimiser steps itself
    for line in new_lines(run / "output" / "trainer_log.jsonl"):
        if has_numbers(line, "current_steps", "loss"):
            yield {"step": line["current_steps"], "loss": line["loss"], "learning_rate": line.get("lr", 0.0)}
        elif has_numbers(line, "current_steps", "eval_loss"):
            yield {"step": line["current_steps"], "validation_loss": line["eval_loss"]}


def checkpoints(run: Path, *, best: bool = False) -> list[Path]:
    """Return the readable checkpoints, oldest first; the last is the finished training's own.

    The best is told by the validation losses: trainer_state.json leaves the one after the last step out.
    """
    output = run / "output"
    numbered = [(path.name.partition("-")[2], path) for path in output.glob("checkpoint-*")]
    in_order = [path for _, path in sorted((int(number), path) for number, path in numbered if number.isdecimal())]
    if best:
        losses = {
            record["step"]: record["validation_loss"] for record in read_log(run, json_lines, 1) if "loss" not in record
        }
        validated = [output / f"checkpoint-{step}" for step in sorted(losses, key=losses.__getitem__)]
        return [path for path in validated if _has_whole_weights(path)][:1]
    return [path for path in [*in_order, output] if _has_whole_weights(path)]


def truncate_turns(turns: Sequence[tuple[int, int]], cutoff_length: int) -> Iterator[tuple[int, int]]:
    """Yield how many tokens of question and answer a cutoff length leaves of each turn.

    Its `infer_seqlen` (data/processor/processor_utils.py) shortens both.
    """
    room = cutoff_length
    for question, answer in turns:
        if answer * 2 < room:
            answer_room = room
        elif question * 2 < room:
            answer_room = room - question
        else:
            answer_room = room * answer // (question + answer)
        answer_left = min(answer_room, answer)
        question_left = min(question, room - answer_left)
        yield question_left, answer_left
        room -= question_left + answer_left


def _has_whole_weights(folder: Path) -> bool:
    files = [*folder.glob("adapter_model.safetensors"), *folder.glob("model*.safetensors")]
    return bool(files) and all(safetensors_header(file) is not None for file in files)
