"""`ftbridge help`: the same as `--help`."""

import click

from ftbridge.cli.options import Command


@click.command("help", cls=Command, examples=("ftbridge help train", "ftbridge help runs list"))
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
def command(words: tuple[str, ...]) -> None:
    """Show the help of a command, as `COMMAND --help` does."""
    from ftbridge.cli import cli

    cli.main([*words, "--help"], prog_name="ftbridge", standalone_mode=False)
