"""`ftbridge merge`."""

import re

import click

from ftbridge.cli.export import checkpoint_option

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def _size(_context: click.Context, _option: click.Parameter, value: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", value.strip().upper())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise click.BadParameter(f"`{value}` is no size such as 5GB or 500MB")
    return size


def _weighted(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    found = []
    for value in values:
        folder, _, weight = value.partition("=")
        try:
            found.append((folder, float(weight or 1)))
        except ValueError as error:
            raise click.BadParameter(f"`{weight}` is no number; write DIR=WEIGHT, as in other/adapter=0.5") from error
    return tuple(found)


@click.command("merge")
@click.argument("source", metavar="[RUN|FOLDER]", required=False)
@click.option("--model", metavar="BASE", help="The base model, where it is not known, or another one.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where to write (default: runs/RUN/merged).")
@checkpoint_option
@click.option(
    "--adapter", "adapters", callback=_weighted, multiple=True, metavar="DIR[=WEIGHT]",
    help="Merge another adapter as well, its changes times WEIGHT (default 1); may be repeated.",
)  # fmt: skip
@click.option(
    "--onto", type=click.Choice(["nf4", "fp4"]),
    help="Merge onto the rounded values that a 4-bit QLoRA run trained on, to answer just as the adapter did.",
)  # fmt: skip
@click.option(
    "--shard-size", callback=_size, default="5GB", show_default=True, metavar="SIZE", help="Of a file at most."
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option(
    "--verify", type=click.IntRange(min=1), is_flag=False, flag_value=4, metavar="[K]",
    help="Compare greedy answers of base with adapter and merged model to K questions of the run's data (4).",
)  # fmt: skip
@click.option("--trust-remote-code", is_flag=True, help="With --verify: run Python code that comes with the model.")
def command(source: str | None, verify: int | None, trust_remote_code: bool, **how: object) -> None:
    """Merge the adapter of a run (default: the last) or of a folder into its base model."""
    from ftbridge.core.console import result
    from ftbridge.core.errors import UsageError
    from ftbridge.weights.merge import merge

    if trust_remote_code and not verify:
        raise UsageError("`--trust-remote-code` is for `--verify`; a merge runs no code of the model, so leave it out")
    if verify:
        from ftbridge.evaluation.verify import same_answers

        how["check"] = same_answers(verify, str(how["device"]), trust_remote_code=trust_remote_code)
    result(str(merge(source, **how)))  # type: ignore[arg-type]  # click has made them what they are to be
