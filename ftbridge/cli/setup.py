"""`ftbridge setup`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ftbridge.launchers.environment.venv import Environment


@click.command("setup")
@click.option("--venv", metavar="DIR", help="Where to make it (default: one for all your projects).")
@click.option(
    "--environment",
    type=click.Choice(["transformers5", "transformers4"]),
    default="transformers5",
    show_default=True,
    help="transformers4 is a second one, for models whose own code needs it (InternLM 2).",
)
def command(venv: str | None, environment: "Environment") -> None:
    """Make, renew or repair the training environment: both frameworks, torch, DeepSpeed, bitsandbytes."""
    from ftbridge.launchers.environment.setup import setup

    setup(venv, environment)
