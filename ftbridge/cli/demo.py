"""`ftbridge demo`."""

import click


@click.command("demo")
@click.option("--backend", help="Run one framework only: xtuner or llamafactory.")
@click.option("--keep", type=click.Path(), metavar="DIR", help="Keep everything in DIR, a new folder.")
@click.option("--no-train", is_flag=True, help="With --keep: make only the workbook and the base model.")
def command(backend: str | None, keep: str | None, no_train: bool) -> None:
    """Show the whole way in one sitting: workbook, training, merged model, answers before and after."""
    from ftbridge.demo import demo

    demo(backend=backend, keep=keep, train=not no_train)
