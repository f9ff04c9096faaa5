"""The command line: one file per command, each thin. Only click is imported before a command runs."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from ftbridge.cli.help_text import Context
from ftbridge.language import gettext as _
from ftbridge.language import translate_click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "setup": _("Make or repair the training environment."),
    "doctor": _("Check this machine and the training environment."),
    "demo": _("Show every step in one sitting, on a small model."),
    "inspect": _("Show what a source holds, and how it would be read."),
    "convert": _("Turn data of any kind into both frameworks' formats."),
    "presets": _("Show the settings for well-known datasets."),
    "plugins": _("List the formats, frameworks, presets and families."),
    "datasets": _("List, show, check and remove registered datasets."),
    "preview": _("Show what a training would see of a dataset."),
    "tokenize": _("Tokenise a dataset once, for any framework."),
    "train": _("Fine-tune a model with XTuner or LLaMA-Factory."),
    "runs": _("List, show, follow, plot, compare, stop and prune runs."),
    "export": _("Write the adapter of a run as a PEFT folder."),
    "merge": _("Merge the adapter of a run into its base model."),
    "chat": _("Talk to the model of a run."),
    "predict": _("Answer a dataset with the model of a run."),
    "evaluate": _("Measure how good a model's answers are, and whether it got better."),
    "report": _("Write a report on what training changed, as HTML."),
    "sweep": _("Train with many options, and show which came out best."),
    "recipe": _("Run, list, show and make recipes: a whole experiment in one file."),
    "completion": _("Print the script for Tab in bash, zsh or fish."),
    "help": _("Show the help of a command."),
}

COMPLETE = "_FTBRIDGE_COMPLETE"  # by which a shell asks
EXAMPLES = ("ftbridge convert medqa.xlsx --split 7:3", "ftbridge train --backend xtuner --model base")


class Commands(click.Group):
    """Loads a command's module when that command is used; `--help` needs the table above alone."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a user meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ftbridge.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the closest command for one that is not there; a shell that completes is told nothing."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from ftbridge.cli.habits import say_unknown_command

            ctx.fail(say_unknown_command(args[0], list(COMMANDS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section(_("Commands")):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write two examples."""
        del ctx
        with formatter.section(_("Examples")):
            formatter.write("".join(f"  {example}\n" for example in EXAMPLES))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the commands without importing them."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ftbridge import __version__
        from ftbridge.core.console import result

        result(f"ftbridge {__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    help=_("Fine-tune language models with XTuner and LLaMA-Factory, from a spreadsheet to a conversation."),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help=_("Show the version and exit."),
)
def cli() -> None:
    """Hold the commands."""


def main() -> None:
    """Run the command line and end with an honest exit code."""
    _start_in_utf8()
    translate_click()
    from ftbridge.core.console import escape_streams

    if not os.environ.get(COMPLETE):  # what a shell reads is written as bytes
        escape_streams()
    code = _run_command(sys.argv[1:])
    sys.exit(code if isinstance(code, int) else 0)


def _start_in_utf8() -> None:
    """Start anew in UTF-8 where Python takes paths for ASCII: no file of ours could hold one with Chinese in it.

    That is so in the C locale, and only where somebody has turned off what Python does about it.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.executable:
        arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606 - ourselves


def _run_command(arguments: list[str]) -> object:
    """Run a command, once more with the user's answer where it has a question; returns what it ends with."""
    try:
        return cli.main(arguments, standalone_mode=False, complete_var=COMPLETE)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say_stopped()
    except click.ClickException as error:
        from ftbridge.cli.failure import report_usage

        return report_usage(error)
    except Exception as error:  # noqa: BLE001 - the one place where everything is caught
        failed = error
    from ftbridge.cli.failure import arguments_with_answer, report

    try:
        more = arguments_with_answer(failed, arguments)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say_stopped()
    return _run_command(more) if more else report(failed, arguments)


def _say_stopped() -> int:
    from ftbridge.core.console import say

    say(_("\nstopped"))
    return 130
