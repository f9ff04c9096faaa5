"""`ftbridge export`."""

import click

from ftbridge.cli.options import Command, checkpoint_option, json_option, model_option, out_option, source_argument


@click.command("export", cls=Command, examples=("ftbridge export", "ftbridge export --checkpoint best --out adapter"))
@source_argument
@model_option
@out_option("runs/RUN/adapter")
@checkpoint_option
@json_option
def command(source: str | None, model: str | None, out: str | None, checkpoint: str | None, as_json: bool) -> None:
    """Write the adapter of a run (default: the last that succeeded) or of a checkpoint folder as a PEFT folder."""
    from ftbridge.core.console import print_json, result
    from ftbridge.weights.export import export

    folder = export(source, model=model, out=out, checkpoint=checkpoint)
    if as_json:
        print_json({"folder": folder})
    else:
        result(str(folder))
