"""`ftbridge train`."""

from pathlib import Path
from typing import Any

import click


def _pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"`{value}` is not KEY=VALUE")
    return dict(value.split("=", 1) for value in values)


def _whole_or_all(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"`{value}` is no count of at least 1, nor `all`")
    return int(value)


@click.command("train")
@click.option("--backend", help="xtuner or llamafactory.")
@click.option("--model", help="A folder, owner/name or hf://owner/name (Hugging Face), ms://owner/name (ModelScope).")
@click.option("--dataset", metavar="NAME", help="A registered dataset (default: the last conversion's).")
@click.option("--dataset-dir", metavar="DIR", help="The folder with dataset_info.json (default: data).")
@click.option("--method", type=click.Choice(["qlora", "lora", "full"]), help="Default: qlora, in 4 bits.")
@click.option("--lora-rank", type=int, help="Default: 64.")
@click.option("--lora-alpha", type=int, help="Default: 16.")
@click.option("--lora-dropout", type=float, help="Default: 0.1.")
@click.option("--learning-rate", type=float, help="Default: 2e-4.")
@click.option("--scheduler", type=click.Choice(["cosine", "linear", "constant"]), help="Default: cosine.")
@click.option("--warmup-ratio", type=float, help="Share of the steps spent warming up, one at least; default: 0.03.")
@click.option("--epochs", type=float, help="Passes over the data; default: 3.")
@click.option("--micro-batch-size", type=int, help="Samples per process and pass; default: 1.")
@click.option("--gradient-accumulation-steps", type=int, help="Passes per optimiser step; default: 16.")
@click.option("--cutoff-length", type=int, help="Tokens per sample at most; default: 2048.")
@click.option("--save-steps", type=int, help="Optimiser steps between checkpoints; default: 500.")
@click.option("--seed", type=int, help="Default: 42.")
@click.option("--deepspeed", metavar="none|zero2|FILE", help="Default: zero2 for several processes, none for one.")
@click.option(
    "--gpus",
    metavar="N|all",
    callback=_whole_or_all,
    help="How many (default: 1); CUDA_VISIBLE_DEVICES chooses which.",
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), help="Default: auto.")
@click.option("--template", metavar="FAMILY", help="The model's family, where it is not told from its files.")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run Python code that comes with the model.")
@click.option(
    "--set",
    "set",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_pairs,
    help="Anything else the framework knows.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings (default: ftbridge.yaml).")
@click.option("--dry-run", is_flag=True, help="Print the configs and the launch, and start nothing.")
def command(config: Path | None, dry_run: bool, **options: Any) -> None:
    """Fine-tune a model with XTuner or LLaMA-Factory."""
    from ftbridge.core.console import result, say
    from ftbridge.launchers.train import describe, prepare, start

    ready = prepare(config, **options)
    if dry_run:
        result(describe(ready))
        return
    run = start(ready)
    say("next: `ftbridge merge`, then `ftbridge chat`")
    result(run.id)
