"""`ftbridge demo`."""

import click

from ftbridge.cli.options import Command, PluginName, complete_folder, option
from ftbridge.language import gettext as _


@click.command("demo", cls=Command, examples=("ftbridge demo", "ftbridge demo --keep quickstart --no-train"))
@option("--backend", type=PluginName("backends"), show_default="all", help=_("Framework to train with."))
@option(
    "--keep", type=click.Path(), metavar="DIR", shell_complete=complete_folder,
    help=_("New folder in which everything made is kept."),
)  # fmt: skip
@option("--no-train", is_flag=True, help=_("Make only the workbook and the base model (needs --keep)."))
@option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0,
    help=_("Seed of the model's random weights and of the training."),
)  # fmt: skip
def command(backend: str | None, keep: str | None, no_train: bool, seed: int) -> None:
    """Show the whole way in one sitting: workbook, training, merged model, answers before and after."""
    from ftbridge.experiments.demo import demo

    demo(backend=backend, keep=keep, train=not no_train, seed=seed)
