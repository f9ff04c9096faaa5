"""`ftbridge setup`."""

from typing import TYPE_CHECKING

import click

from ftbridge.cli.options import Choice, Command, complete_folder, json_option, option
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.launchers.environment.venv import Environment


@click.command("setup", cls=Command, examples=("ftbridge setup", "ftbridge setup --environment transformers4"))
@option(
    "--venv", metavar="DIR", shell_complete=complete_folder, show_default=_("one for all your projects"),
    help=_("Folder of the virtual environment."),
)  # fmt: skip
@option(
    "--environment", type=Choice(["transformers5", "transformers4"]), default="transformers5",
    help=_("Version of transformers; transformers4 is for models whose own code needs it "
        "(InternLM 2)."),
)  # fmt: skip
@json_option
def command(venv: str | None, environment: "Environment", as_json: bool) -> None:
    """Make, renew or repair the training environment: both frameworks, torch, DeepSpeed, bitsandbytes."""
    from ftbridge.core.console import print_json
    from ftbridge.launchers.environment.setup import setup

    python = setup(venv, environment)
    if as_json:
        print_json({"python": python, "environment": environment})
