"""`ftbridge completion`: commands, options, runs, datasets and families by the Tab key."""

import click

from ftbridge.cli.options import Choice, Command


@click.command("completion", cls=Command, examples=("ftbridge completion bash", "ftbridge completion fish"))
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script with which a shell completes ftbridge: commands, options, runs, datasets, families.

    Have your shell read it at each start; in zsh, after `autoload -U compinit; compinit`:

    \b
      bash, in ~/.bashrc:  eval "$(ftbridge completion bash)"
      zsh, in ~/.zshrc:    eval "$(ftbridge completion zsh)"
      fish, in ~/.config/fish/config.fish:
                           ftbridge completion fish | source
    """  # noqa: D301 - click wants the character itself
    from click.shell_completion import get_completion_class

    from ftbridge.cli import COMPLETE, cli
    from ftbridge.core.console import result

    found = get_completion_class(shell)
    assert found  # noqa: S101 - click knows the three
    script = found(cli, {}, "ftbridge", COMPLETE)
    result((script.source_template % script.source_vars()).strip())
