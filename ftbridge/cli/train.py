"""`ftbridge train`."""

from typing import TYPE_CHECKING, Any

import click
import msgspec

from ftbridge.cli.options import (
    Command,
    PluginName,
    complete_dataset,
    complete_family,
    complete_folder,
    complete_run,
    config_option,
    json_option,
    option,
    options,
)
from ftbridge.core.train_spec import TrainSpec

if TYPE_CHECKING:
    from ftbridge.launchers.training.prepare import Prepared

# What stands for a value, where the type does not say it.
METAVARS = {
    "model": "MODEL",
    "dataset": "NAME",
    "dataset_dir": "DIR",
    "validation_dataset": "NAME|auto|none",
    "lora_targets": "NAME,NAME",
    "track": "NAME,NAME",
    "deepspeed": "NAME|FILE.json",
    "gpus": "N|all",
    "template": "FAMILY",
    "chat_template": "FILE|NAME",
    "set": "KEY=VALUE",
}
# What is taken where an option is not given, and is no constant.
DEFAULTS = {
    "backend": "ftbridge.yaml's",
    "model": "ftbridge.yaml's, else the preset's",
    "dataset": "the last conversion's",
    "dataset_dir": "the last conversion's, else data",
    "validation_steps": "as --save-steps",
    "lora_targets": "those of attention, dense and shared MLPs",
    "template": "told from the model's files",
    "chat_template": "the model's own",
}
COMPLETE = {
    "model": complete_folder,
    "dataset": complete_dataset,
    "dataset_dir": complete_folder,
    "validation_dataset": complete_dataset,
    "template": complete_family,
}
HEADINGS = {
    "Model and data": "model dataset dataset_dir validation_dataset trust_remote_code",
    "Tokens": "tokens chat_template thinking learn cutoff_length too_long packing template",
    "Method": "method quantization_bits quantization_type double_quantization lora_rank lora_alpha lora_dropout "
    "lora_targets rslora dora neftune_alpha",
    "Optimiser": "optimizer learning_rate weight_decay max_gradient_norm seed",
    "Schedule": "epochs max_steps micro_batch_size gradient_accumulation_steps scheduler warmup_ratio validation_steps "
    "early_stopping",
    "Memory": "gradient_checkpointing attention dtype deepspeed",
    "Checkpoints": "save_steps save_limit resume trust_checkpoint",
    "Launch": "backend device gpus track set config dry_run build_only no_preflight detach as_json",
}


def _parse_pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"`{value}` is not KEY=VALUE")
    return dict(value.split("=", 1) for value in values)


def _parse_lists(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.strip() for value in values for item in value.split(",") if item.strip())


def _parse_count_or_all(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"`{value}` is no count of at least 1, nor `all`")
    return int(value)


CALLBACKS = {"set": _parse_pairs, "lora_targets": _parse_lists, "track": _parse_lists, "gpus": _parse_count_or_all}


def _option_of_field(field: msgspec.inspect.Field) -> Any:
    """Return the option for a field of TrainSpec: its kind by its type, its help by its description."""
    name = field.encode_name
    kind, text = _bare_type(field.type)
    declared = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {
        "metavar": METAVARS.get(name),
        "show_default": DEFAULTS.get(name, _shown_default(field)),
    }
    if name in COMPLETE:
        settings["shell_complete"] = COMPLETE[name]
    if name == "backend":
        settings["type"] = PluginName("backends")
    elif name in CALLBACKS:
        settings |= {"callback": CALLBACKS[name], "multiple": name != "gpus"}
    elif isinstance(kind, msgspec.inspect.BoolType):
        declared += f"/--no-{name.replace('_', '-')}"
    elif isinstance(kind, msgspec.inspect.LiteralType):
        settings["type"] = click.Choice(sorted(str(value) for value in kind.values))
    elif isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        settings["type"] = int if isinstance(kind, msgspec.inspect.IntType) else float
    return option(declared, name, default=None, help=text, **settings)


def _shown_default(field: msgspec.inspect.Field) -> str:
    """Return a field's default as the help shows it, "" for none."""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return "" if field.default in (None, msgspec.NODEFAULT, ()) else str(field.default)


def _bare_type(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, str]:
    """Return a field's type without None and what is noted of it, and its description."""
    text = ""
    while isinstance(kind, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(kind, msgspec.inspect.Metadata):
            text = text or (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        else:
            kind = next(each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
    return kind, text


def _add_spec_options(command: Any) -> Any:
    fields = msgspec.inspect.type_info(TrainSpec).fields  # type: ignore[attr-defined]
    return options(*map(_option_of_field, fields))(command)


@click.command(
    "train",
    cls=Command,
    headings=HEADINGS,
    examples=("ftbridge train --backend xtuner --model base", "ftbridge train --backend llamafactory --dry-run"),
)
@_add_spec_options
@config_option
@option("--dry-run", is_flag=True, help="Show what would be trained, with the pre-flight, and start nothing.")
@option("--build-only", is_flag=True, help="As --dry-run, and build tokenizer, dataset and model in the framework.")
@option("--no-preflight", is_flag=True, help="Leave out the pre-flight, the checks before the start.")
@option("--detach", is_flag=True, help="Return once the training runs; it outlives the terminal.")
@option(
    "--resume", metavar="auto|RUN|CHECKPOINT", shell_complete=complete_run,
    help="Resume a run that stopped, or from a checkpoint; auto: the newest run.",
)  # fmt: skip
@option("--trust-checkpoint", is_flag=True, help="Resume from a checkpoint that no signed record has.")
@json_option
def command(
    config: str | None,
    dry_run: bool,
    build_only: bool,
    no_preflight: bool,
    detach: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a model with XTuner or LLaMA-Factory.

    With --dry-run and --json, the launch is printed as a value: options, config files, argv and env.
    """
    from ftbridge.core.console import print_json, result, say
    from ftbridge.launchers.runs.summary import summarise_run
    from ftbridge.launchers.training import prepare, train

    ready = prepare.prepare(config, **options)
    if dry_run or build_only:
        _print_dry_run(ready, preflight=not no_preflight, as_json=as_json)
        if build_only:
            prepare.build_only(ready)
            say("the framework builds all that the config names; nothing was started")
        return
    if detach:
        run = train.start_detached(ready, preflight=not no_preflight)
        say(f"`ftbridge runs logs -f {run.id}` follows it, `ftbridge runs stop {run.id}` ends it")
    else:
        run = train.start(ready, preflight=not no_preflight)
        say("next: `ftbridge merge`, then `ftbridge chat`")
    if as_json:
        print_json({"folder": run.folder, **msgspec.to_builtins(summarise_run(run))})
    else:
        result(run.id)


def _print_dry_run(ready: "Prepared", *, preflight: bool, as_json: bool) -> None:
    """Print what would run, for people or as a value; raises InputError where the pre-flight finds a failure."""
    from ftbridge.core.console import aligned, print_json, result, say
    from ftbridge.core.errors import InputError
    from ftbridge.launchers.environment.checklist import checks_as_text
    from ftbridge.launchers.training import train
    from ftbridge.launchers.training.prepare import describe

    checks = train.preflight(ready) if preflight else []
    if as_json:
        plan, launch = ready.plan, msgspec.to_builtins(ready.launch)
        print_json({"options": plan.spec, "samples": plan.entry.samples, "steps": plan.steps, **launch})
        if checks:
            say(checks_as_text(checks))
    else:
        memory = [check.found for check in checks if check.name.endswith("memory")]
        result(aligned([*describe(ready), ("memory", "; ".join(memory) or "not estimated")]))
        if others := [check for check in checks if check.found not in memory or check.remedy]:
            result(f"\npre-flight:\n{checks_as_text(others)}")
    if any(check.status == "failure" for check in checks):
        raise InputError("this training would fail; the remedies stand above")
