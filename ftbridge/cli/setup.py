"""`ftbridge setup`."""

import click


@click.command("setup")
@click.option("--venv", metavar="DIR", help="Where to make it (default: one for all your projects).")
def command(venv: str | None) -> None:
    """Make or repair the training environment: both frameworks, torch, DeepSpeed, bitsandbytes."""
    from ftbridge.launchers.environment import setup

    setup(venv)
