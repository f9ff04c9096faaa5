"""`ftbridge train`."""

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ftbridge.cli.options import Command, complete_run, config_option, json_option, option
from ftbridge.cli.train_options import train_options
from ftbridge.language import english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.launchers.backends.plan import TrainPlan
    from ftbridge.launchers.training.prepare import Prepared

HEADINGS = {
    _("Model and data"): "model dataset dataset_dir validation_dataset trust_remote_code",
    _("Tokens"): "tokens chat_template thinking learn cutoff_length too_long packing template",
    _("Method"): "method quantization_bits quantization_type double_quantization lora_rank lora_alpha lora_dropout "
    "lora_targets rslora dora neftune_alpha",
    _("Optimizer"): "optimizer learning_rate weight_decay max_gradient_norm seed",
    _(
        "Schedule"
    ): "epochs max_steps micro_batch_size gradient_accumulation_steps scheduler warmup_ratio validation_steps "
    "early_stopping",
    _("Memory"): "gradient_checkpointing attention dtype deepspeed",
    _("Checkpoints"): "save_steps save_limit resume trust_checkpoint",
    _("Launch"): "name backend device gpus track set config dry_run build_only no_preflight yes detach as_json",
}


@click.command(
    "train",
    cls=Command,
    headings=HEADINGS,
    examples=("ftbridge train --backend xtuner --model base", "ftbridge train --backend llamafactory --dry-run"),
)
@train_options()
@config_option
@option("--dry-run", is_flag=True, help=_("Show what would be trained, with the pre-flight, and start nothing."))
@option("--build-only", is_flag=True, help=_("As --dry-run, and build tokenizer, dataset and model in the framework."))
@option("--no-preflight", is_flag=True, help=_("Skip the pre-flight, the checks before the start."))
@option("--detach", is_flag=True, help=_("Return once training has started; it goes on when the terminal closes."))
@option(
    "--resume", metavar="auto|RUN|CHECKPOINT", shell_complete=complete_run,
    help=_("Resume a run that stopped, or from a checkpoint; auto: the newest run."),
)  # fmt: skip
@option("--yes", is_flag=True, help=_("Train without asking about unusual values."))
@option("--name", default="", metavar="NAME", help=_("Name of the run, to type in place of its id."))
@option("--trust-checkpoint", is_flag=True, help=_("Allow resuming from a checkpoint that no signed record lists."))
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
    from ftbridge.core.console import is_terminal, print_json, result, say
    from ftbridge.launchers.runs.summary import summarise_run
    from ftbridge.launchers.training import prepare, train

    ready = prepare.prepare(config, **options)
    if dry_run or build_only:
        _print_dry_run(ready, preflight=not no_preflight, as_json=as_json)
        if build_only:
            prepare.build_only(ready)
            say(_("the framework builds all that the config names; nothing was started"))
        return
    if detach:
        run = train.start_detached(ready, preflight=not no_preflight)
        say(
            _("`ftbridge runs logs -f {id}` follows it, `ftbridge runs stop {id}` ends it").format(
                id=run.name or run.id
            )
        )
    else:
        run = train.start(ready, preflight=not no_preflight)
        say(_("next: `ftbridge merge`, then `ftbridge chat`"))
    if as_json:
        print_json({"folder": run.folder, **msgspec.to_builtins(summarise_run(run), enc_hook=english)})
    elif not is_terminal(sys.stdout):  # where it stands in the lines above
        result(run.id)


def _tokens_of_plan(plan: "TrainPlan") -> dict[str, Any]:
    """Return what is told of tokens that are made once, as values; nothing without them."""
    if not plan.tokens or not plan.chat_template:
        return {}
    parts = {"train": plan.tokens, "validation": plan.validation_tokens}
    return {
        "chat_template": {
            "origin": plan.chat_template.origin,
            "sha256": plan.chat_template.sha256,
            "thinking": plan.chat_template.thinking,
        },
        "rows": plan.tokens.counts.rows,
        "tokens": {name: {"folder": each.folder, "counts": each.counts} for name, each in parts.items() if each},
    }


def _print_dry_run(ready: "Prepared", *, preflight: bool, as_json: bool) -> None:
    """Print what would run, for people or as a value; raises InputError where the pre-flight finds a failure."""
    from ftbridge.core.console import aligned, print_json, result, say
    from ftbridge.core.errors import InputError
    from ftbridge.launchers.environment.checklist import checks_as_text
    from ftbridge.launchers.preflight.preflight import trained_parameters
    from ftbridge.launchers.training import train
    from ftbridge.launchers.training.prepare import describe

    checks = train.preflight(ready) if preflight else []
    if as_json:
        plan, launch = ready.plan, msgspec.to_builtins(ready.launch)
        value = {"options": plan.spec, "samples": plan.entry.samples, "steps": plan.steps, **launch}
        trained, parameters = trained_parameters(plan, ready.python)
        counts = {"trained_parameters": trained, "parameters": parameters}
        print_json(value | counts | _tokens_of_plan(plan))
        if checks:
            say(checks_as_text(checks))
    else:
        memory = [check.found for check in checks if check.name.endswith("memory")]
        summary = describe(ready, joined("; ", memory) or _("not estimated"), train.planned_time(ready))
        result(aligned(summary), wrap=True)
        if others := [check for check in checks if check.found not in memory or check.remedy]:
            result(_("\npre-flight:\n{checks}").format(checks=checks_as_text(others)), wrap=True)
    if any(check.status == "failure" for check in checks):
        raise InputError(_("this training would fail: see `failure` above"))
