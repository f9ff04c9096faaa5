"""`ftbridge merge`."""

import click

from ftbridge.cli.options import (
    DEVICES,
    Choice,
    Command,
    checkpoint_option,
    json_option,
    model_option,
    option,
    out_option,
    source_argument,
)
from ftbridge.language import gettext as _


def _parse_size(_context: click.Context, _option: click.Parameter, value: str) -> int:
    from ftbridge.weights.merge import parse_size

    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _parse_weights(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    found = []
    for value in values:
        folder, _unused, weight = value.partition("=")
        try:
            found.append((folder, float(weight or 1)))
        except ValueError as error:
            raise click.BadParameter(
                _("`{weight}` is not a number; write DIR=WEIGHT, as in other/adapter=0.5").format(weight=weight)
            ) from error
    return tuple(found)


@click.command("merge", cls=Command, examples=("ftbridge merge", "ftbridge merge --checkpoint best --out merged"))
@source_argument
@model_option
@out_option("runs/RUN/merged")
@checkpoint_option
@option(
    "--adapter", "adapters", callback=_parse_weights, multiple=True, metavar="DIR[=WEIGHT]",
    help=_("Another adapter to merge as well, its changes times WEIGHT (default 1); repeatable."),
)  # fmt: skip
@option(
    "--onto", type=Choice(["nf4", "fp4"]),
    help=_("Merge onto the dequantised 4-bit weights that a QLoRA run trained on, to answer just "
        "as the adapter did."),
)  # fmt: skip
@option("--shard-size", callback=_parse_size, default="5GB", metavar="SIZE", help=_("Largest size of a weights file."))
@option(
    "--device", type=DEVICES, default="auto",
    help=_("Where to compute; auto: the CPU, which is as quick as the disk, and for "
        "--verify-answers a GPU where there is one."),
)  # fmt: skip
@option(
    "--verify-answers", "count", type=click.IntRange(min=1), is_flag=False, flag_value=4, metavar="[N]",
    help=_("Compare greedy answers of base with adapter and of the merged model to N questions "
        "of the run's data (4 where N is left out)."),
)  # fmt: skip
@option("--trust-remote-code", is_flag=True, help=_("Run Python code that comes with the model, for --verify-answers."))
@json_option
def command(source: str | None, count: int | None, trust_remote_code: bool, as_json: bool, **how: object) -> None:
    """Merge the adapter of a run (default: the last that succeeded) or of a folder into its base model."""
    from ftbridge.core.console import print_json, result
    from ftbridge.core.errors import UsageError
    from ftbridge.weights.merge import merge

    if trust_remote_code and not count:
        raise UsageError(
            _("`--trust-remote-code` is for `--verify-answers`; a merge runs no code of the model, so leave it out")
        )
    if count:
        from ftbridge.evaluation.answers.verify import same_answers

        how["check"] = same_answers(count, str(how["device"]), trust_remote_code=trust_remote_code)
    folder = merge(source, **how)  # type: ignore[arg-type]  # click has made them what they are to be
    if as_json:
        print_json({"folder": folder})
    else:
        result(str(folder))
