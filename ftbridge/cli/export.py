"""`ftbridge export`."""

import click


@click.command("export")
@click.argument("source", metavar="[RUN|FOLDER]", required=False)
@click.option("--model", metavar="BASE", help="The base model, where it is not known, or another one.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Where to write (default: runs/RUN/adapter).")
@click.option(
    "--checkpoint", metavar="last|best|STEP|PATH", help="Which of the run's (default: last); a step is the optimiser's."
)
def command(source: str | None, model: str | None, out: str | None, checkpoint: str | None) -> None:
    """Write the adapter of a run (default: the last) or of a checkpoint folder as a PEFT folder."""
    from ftbridge.core.console import result
    from ftbridge.weights.export import export

    result(str(export(source, model=model, out=out, checkpoint=checkpoint)))
