"""How an error leaves the program: one message and an exit code, or a report to paste."""

import os
import platform
import re
import sys
import traceback
from collections.abc import Sequence
from errno import EACCES, EDQUOT, ELOOP, ENAMETOOLONG, ENOSPC, EPERM, EROFS
from typing import TYPE_CHECKING

from ftbridge import __version__
from ftbridge.core.console import is_terminal, say
from ftbridge.core.errors import FtbridgeError, InputError, InterruptedRun, QuestionError, SetupError, shell_words
from ftbridge.language import gettext as _
from ftbridge.language import language

if TYPE_CHECKING:
    import click


def arguments_with_answer(error: Exception, arguments: Sequence[str]) -> list[str]:
    """Ask a question on a terminal: returns the `arguments` with the answer, [] where there is nobody to ask."""
    is_asked = is_terminal(sys.stdin) and is_terminal(sys.stderr)
    if not isinstance(error, QuestionError) or not error.answers or not is_asked:
        return []
    import click

    say(error.reason)
    for number, (meaning, options) in enumerate(error.answers.items(), 1):
        say(_("  {number}  {meaning}: {options}").format(number=number, meaning=meaning, options=shell_words(options)))
    answers = [*error.answers.values()]
    numbers = [str(number) for number, _options in enumerate(answers, 1)]
    question = _("which one? (Ctrl-C for none)")
    while (typed := click.prompt(question, prompt_suffix=_(": "), err=True).strip()) not in numbers:
        say(_("error: type a number from 1 to {most}").format(most=len(answers)))
    return _add_options(arguments, answers[int(typed) - 1])


def _add_options(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the arguments with further options, which stand before a `--`, in place of the same ones before them."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return [*_without_options(arguments[:at], options), *options, *arguments[at:]]


def _without_options(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the arguments without those of `options`, and their values, that the command takes only once."""
    known = _options_of_command(arguments)
    again = {known[word] for word in options if word in known and not known[word].multiple}
    kept, words = [], iter(arguments)
    for word in words:
        name, equals, _unused = word.partition("=")
        option = known.get(name)
        value = [next(words, "")] if option and not option.is_flag and not equals else []
        if option not in again:
            kept += [word, *value]
    return kept


def _options_of_command(arguments: Sequence[str]) -> "dict[str, click.Option]":
    """Return the options of the command that the arguments call, by each of their names."""
    import click

    from ftbridge.cli import cli

    command: click.Command | None = cli
    for word in arguments:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    options = [param for param in command.params if isinstance(param, click.Option)] if command else []
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def report(error: Exception, arguments: Sequence[str] = ()) -> int:
    """Tell the user of `error`, met with these `arguments` of the command line, and return the exit code."""
    if why := _why_no_path(error):  # paths stand in files, too, where anything may be written
        error = InputError(_("{why}; check the files that this command reads").format(why=why))
    if isinstance(error, QuestionError) and arguments:
        say(_("error: {reason}").format(reason=error.reason))
        for meaning, options in error.answers.items():
            say(
                _("  {meaning}:\n    {value}").format(
                    meaning=meaning, value=shell_words(["ftbridge", *_add_options(arguments, options)])
                )
            )
        return error.exit_code
    if isinstance(error, FtbridgeError):
        say(str(error) if isinstance(error, InterruptedRun) else _("error: {error}").format(error=error))
        return error.exit_code
    full = isinstance(error, OSError) and error.errno == ENOSPC
    if full or isinstance(error, BrokenPipeError):  # `ftbridge ... > file`, or `| head`: Python need not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if full:
        say(_("error: the disk is full, and the output could not be written; free some space"))
        return SetupError.exit_code
    if isinstance(error, BrokenPipeError):
        return 141
    if isinstance(error, OSError) and error.errno in {EACCES, EDQUOT, EPERM, EROFS} and error.filename:
        say(
            _("error: `{filename}`: {strerror}; use a folder that you can read and write").format(
                filename=error.filename, strerror=error.strerror
            )
        )
        return SetupError.exit_code
    say("".join(traceback.format_exception(error)).rstrip())
    say()
    say(_("This is a fault in ftbridge, not in what you typed. Please report it with the text above and:"))
    say(f"  ftbridge {__version__}, Python {platform.python_version()}, {platform.platform()}")
    return 70


def report_usage(error: "click.ClickException") -> int:
    """Tell the user of wrong usage that click has found, and return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which click before 8.2 does not have
        say(error.format_message())
        return error.exit_code
    if context := getattr(error, "ctx", None):
        say(context.get_usage())
        say(_("`{command} --help` shows all options").format(command=context.command_path))
    say(_("error: {message}").format(message=_usage_message(error)))
    return error.exit_code


def _usage_message(error: "click.ClickException") -> str:
    """Return what click says of wrong usage; in Chinese with its full stops, in one line, and with a type's name."""
    message = error.format_message()
    if language() == "en":
        return message
    for name, translated in {"float": _("number"), "integer": _("integer")}.items():
        message = re.sub(rf" {name}(?= range|。|$)( range)?", translated, message)
    message = re.sub(r"(\.|。)\s+", "；", message).replace("', '", "'、'")
    return re.sub(r"\s*\n\s*", " ", message).replace("： ", "：").rstrip(".。")


def _why_no_path(error: Exception) -> str:
    """Return why what should be a path cannot be one, "" for any other error."""
    if isinstance(error, OSError) and error.errno in {ELOOP, ENAMETOOLONG}:
        return _("`{filename}` is not a valid path: {strerror}").format(
            filename=str(error.filename)[:80], strerror=error.strerror
        )
    if isinstance(error, ValueError) and str(error).startswith("embedded null "):
        return _("a path contains the character NUL")
    return ""
