"""`ftbridge demo`."""

import click


@click.command("demo")
@click.option("--backend", help="Run one framework only: xtuner or llamafactory.")
@click.option("--keep", type=click.Path(), metavar="DIR", help="Keep everything in DIR, a new folder.")
@click.option("--no-train", is_flag=True, help="With --keep: make only the workbook and the base model.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
    help="Of the model's random weights and of the training.",
)  # fmt: skip
def command(backend: str | None, keep: str | None, no_train: bool, seed: int) -> None:
    """Show the whole way in one sitting: workbook, training, merged model, answers before and after."""
    from ftbridge.demo import demo

    demo(backend=backend, keep=keep, train=not no_train, seed=seed)
