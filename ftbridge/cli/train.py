"""`ftbridge train`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from ftbridge.core.train_spec import TrainSpec

METAVARS = {
    "backend": "NAME",
    "model": "MODEL",
    "dataset": "NAME",
    "dataset_dir": "DIR",
    "validation_dataset": "NAME|auto|none",
    "lora_targets": "NAME",
    "track": "NAME",
    "deepspeed": "NAME|FILE",
    "gpus": "N|all",
    "template": "FAMILY",
    "set": "KEY=VALUE",
}


def _pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"`{value}` is not KEY=VALUE")
    return dict(value.split("=", 1) for value in values)


def _several(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.strip() for value in values for item in value.split(",") if item.strip())


def _whole_or_all(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"`{value}` is no count of at least 1, nor `all`")
    return int(value)


CALLBACKS = {"set": _pairs, "lora_targets": _several, "track": _several, "gpus": _whole_or_all}


def _option(field: msgspec.inspect.Field) -> Any:
    """Return the option for a field of TrainSpec: its kind by its type, its help by its description."""
    name, given = field.encode_name, field.default
    kind, text = _bare(field.type)
    if given not in (None, msgspec.NODEFAULT, ()):
        shown = {True: "yes", False: "no"}[given] if isinstance(given, bool) else given
        text += f" Default: {shown}."
    option = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"metavar": METAVARS.get(name)}
    if name in CALLBACKS:
        settings |= {"callback": CALLBACKS[name], "multiple": name != "gpus"}
    elif isinstance(kind, msgspec.inspect.BoolType):
        option += f"/--no-{name.replace('_', '-')}"
    elif isinstance(kind, msgspec.inspect.LiteralType):
        settings = {"type": click.Choice(sorted(str(value) for value in kind.values))}
    elif isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        settings = {"type": int if isinstance(kind, msgspec.inspect.IntType) else float}
    return click.option(option, name, default=None, help=text, **settings)


def _bare(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, str]:
    """Return a field's type without None and what is noted of it, and its description."""
    text = ""
    while isinstance(kind, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(kind, msgspec.inspect.Metadata):
            text = text or (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        else:
            kind = next(each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
    return kind, text


def _options(command: Any) -> Any:
    fields = msgspec.inspect.type_info(TrainSpec).fields  # type: ignore[attr-defined]
    for field in reversed(fields):
        command = _option(field)(command)
    return command


@click.command("train")
@_options
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings (default: ftbridge.yaml).")
@click.option("--dry-run", is_flag=True, help="Print configs, launch and pre-flight, and start nothing.")
@click.option(
    "--build-only", is_flag=True, help="As --dry-run, and build tokenizer, dataset and model in the framework."
)
@click.option("--no-preflight", is_flag=True, help="Leave the pre-flight out.")
@click.option("--detach", is_flag=True, help="Return once the training is going; it survives the terminal.")
@click.option("--resume", metavar="auto|RUN|CHECKPOINT", help="Go on with a run that stopped, or from a checkpoint.")
@click.option("--trust-checkpoint", is_flag=True, help="Resume from a checkpoint that no signed record has.")
def command(
    config: Path | None, dry_run: bool, build_only: bool, no_preflight: bool, detach: bool, **options: Any
) -> None:
    """Fine-tune a model with XTuner or LLaMA-Factory."""
    from ftbridge.core.console import result, say
    from ftbridge.launchers.training import train
    from ftbridge.launchers.training.prepare import prepare

    ready = prepare(config, **options)
    if dry_run or build_only:
        _show(ready, preflight=not no_preflight, build=build_only)
        return
    if detach:
        run = train.detach(ready, preflight=not no_preflight)
        say(f"`ftbridge runs logs -f {run.id}` follows it, `ftbridge runs stop {run.id}` ends it")
    else:
        run = train.start(ready, preflight=not no_preflight)
        say("next: `ftbridge merge`, then `ftbridge chat`")
    result(run.id)


def _show(ready: Any, *, preflight: bool, build: bool) -> None:
    from ftbridge.core.console import result, say
    from ftbridge.core.errors import InputError
    from ftbridge.launchers.environment.checklist import shown
    from ftbridge.launchers.training import train
    from ftbridge.launchers.training.prepare import build_only, describe

    result(describe(ready))
    if preflight:
        checks = train.preflight(ready)
        result(f"\n--- pre-flight\n{shown(checks)}")
        if any(each.status == "failure" for each in checks):
            raise InputError("this training would fail; the remedies stand above")
    if build:
        build_only(ready)
        say("the framework builds all that the config names; nothing was started")
