"""Plain transformers and PEFT as a backend of ftbridge: a LoRA adapter, trained by one process."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.plugins import LogReader
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.runs.training_log import has_numbers
from ftbridge.templates.render import render_yaml

title = "plain PEFT"
module = "peft"  # imported in the training environment, to see whether that works
script = Path(__file__).with_name("script.py")
target = "xtuner"  # its files hold whole conversations
token_columns = ("input_ids", "labels", "attention_mask", "position_ids")  # of `--tokens once`, packed as well
CONFIG = "plain.yaml"


def render(plan: TrainPlan) -> dict[str, str]:
    """Return the config file; raises UsageError for what this backend lacks."""
    spec, prompt = plan.spec, plan.cell.prompt if plan.cell else None  # ready tokens need no prompt
    lacking = {
        f"`method: {spec.method}`; take `--method lora`": spec.method != "lora",
        f"`optimizer: {spec.optimizer}`; take `--optimizer adamw`": spec.optimizer != "adamw",
        "packing; take `--no-packing`, or `--tokens once`": spec.packing and not plan.tokens,
        "NEFTune; leave `neftune_alpha` out": spec.neftune_alpha is not None,
        "validation; take `--validation-dataset none`": plan.validation is not None,
        "trackers; leave `track` out": bool(spec.track),
        "options of its own; leave `set` out": bool(spec.set),
        "more than one process; take `--gpus 1`, and no DeepSpeed": plan.distributed,
        "this model's prompt; take `--tokens once`": prompt is not None
        and (not isinstance(prompt.system, str) or prompt.system_inside),
    }
    for what, asked in lacking.items():
        if asked:
            raise UsageError(f"{title} has not {what}")
    text = render_yaml(
        "plain.yaml.j2",
        package=__name__,
        plan=plan,
        spec=spec,
        prompt=msgspec.to_builtins(prompt),
        data_file="" if plan.tokens else str(plan.dataset_dir / plan.entry.files[target]),
        tokens=str(plan.tokens.folder) if plan.tokens else "",
        output=str(plan.run / "output"),
        log=str(plan.run / "log.jsonl"),
    )
    return {CONFIG: text}


def arguments(plan: TrainPlan) -> list[str]:
    """Return what the script's `train` and `build` are given."""
    return [str(plan.run / CONFIG)]


def read_log(run: Path, new_lines: LogReader, accumulation: int) -> Iterator[dict[str, float]]:
    """Yield what the script has logged since the last call."""
    del accumulation  # transformers counts optimizer steps
    for line in new_lines(run / "log.jsonl"):
        if has_numbers(line, "step", "loss", "learning_rate"):
            yield {key: line[key] for key in ("step", "loss", "learning_rate")}


def checkpoints(run: Path, *, best: bool = False) -> list[Path]:
    """Return the checkpoints whose adapter is whole, oldest first; none is the best without a validation."""
    found = [path for path in (run / "output").glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    whole = [path for path in found if safetensors_header(path / "adapter_model.safetensors") is not None]
    return [] if best else sorted(whole, key=lambda path: int(path.name.partition("-")[2]))
