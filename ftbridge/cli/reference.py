"""docs/cli.md: what every command says with `--help`. `make docs` writes it, as `python -m ftbridge.cli.reference`."""

from collections.abc import Iterator

import click

from ftbridge.cli import cli

WIDTH = 100
HEAD = """# The command line

What `ftbridge COMMAND --help` says, for all commands. Written by `make docs`; the pages on
[data](data.md), [training](training.md) and [results](results.md) explain."""


def commands(command: click.Command, path: str = "ftbridge") -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all below it, each with what is typed for it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from commands(found, f"{path} {name}")


def help_of(path: str, command: click.Command, width: int = WIDTH) -> str:
    """Return the help of a command for a terminal of that width, without colours."""
    settings = {"help_option_names": ["-h", "--help"], "terminal_width": width - 2}
    return command.get_help(command.context_class(command, info_name=path, **settings))  # type: ignore[arg-type]


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [f"## {path}\n\n```text\n{help_of(path, command)}\n```" for path, command in commands(cli)]
    return "\n\n".join([HEAD, *parts]) + "\n"


if __name__ == "__main__":
    from ftbridge.core.console import result

    result(page().removesuffix("\n"))
