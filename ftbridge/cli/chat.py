"""`ftbridge chat`."""

import os
import sys
from typing import Any

import click

from ftbridge.cli.options import (
    Command,
    bits_option,
    checkpoint_option,
    device_option,
    dtype_option,
    max_new_tokens_option,
    model_option,
    option,
    source_argument,
    template_option,
    thinking_option,
    trust_option,
)
from ftbridge.language import gettext as _


@click.command(
    "chat",
    cls=Command,
    headings={
        _("Conversation"): "prompt compare system system_template bot_name no_streamer",
        _("Generation"): "max_new_tokens temperature top_k top_p repetition_penalty seed stop_words thinking",
        _("Model"): "checkpoint model template trust_remote_code",
        _("Memory"): "device dtype bits offload_folder",
        _("Page for the browser"): "web host port allow_hosts password",
    },
    examples=('ftbridge chat --prompt "what is aspirin taken for"', "ftbridge chat --compare"),
)
@source_argument
@option("--prompt", metavar="TEXT", help=_("Answer this question and exit; `-`, or a pipe, reads it from stdin."))
@option("--compare", is_flag=True, help=_("Answer with the model before and after the training, side by side."))
@option("--system", metavar="TEXT", show_default=_("the training's"), help=_('System prompt; "" for none.'))
@option(
    "--system-template", metavar="NAME",
    help=_("System prompt by XTuner's name: alpaca, arxiv_gentile, coder, colorist, lawyer, "
        "medical, moss_sft or sql."),
)  # fmt: skip
@option(
    "--bot-name",
    metavar="NAME",
    default="",
    help=_("Name shown before answers, and put into the moss_sft system prompt."),
)
@option("--no-streamer", is_flag=True, help=_("Print an answer when it is complete, not token by token."))
@max_new_tokens_option
@option(
    "--temperature", type=click.FloatRange(0), default=0.0,
    help=_("Sampling temperature; 0 is greedy decoding."),
)  # fmt: skip
@option(
    "--top-k", type=click.IntRange(0), default=40,
    help=_("Sample from the N likeliest tokens; 0: from all."),
)  # fmt: skip
@option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.75,
    help=_("Sample from the likeliest tokens whose probabilities add up to this (nucleus sampling)."),
)  # fmt: skip
@option(
    "--repetition-penalty", type=click.FloatRange(0, min_open=True), default=1.0,
    help=_("Penalty on tokens that occurred before; 1: none."),
)  # fmt: skip
@option("--seed", type=click.IntRange(0), default=0, help=_("Seed of the sampling."))
@option("--stop-word", "stop_words", metavar="TEXT", multiple=True, help=_("Text that ends an answer; repeatable."))
@thinking_option
@checkpoint_option
@model_option
@template_option
@trust_option
@device_option
@dtype_option
@bits_option
@option("--offload-folder", type=click.Path(), metavar="DIR", help=_("Folder for weights that do not fit into memory."))
@option("--web", is_flag=True, help=_("Chat in a browser page, until Ctrl-C."))
@option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help=_("Address the page listens on; 0.0.0.0 lets other machines in."),
)
@option(
    "--port", type=click.IntRange(1, 65535), show_default=_("7860, or the next free one"), help=_("Port of the page.")
)
@option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help=_("Name under which browsers may reach the page; repeatable."),
)
@option(
    "--password",
    metavar="TEXT",
    show_default=_("FTBRIDGE_PASSWORD; generated with --host"),
    help=_("Password of the page."),
)
def command(
    source: str | None, prompt: str | None, compare: bool, bot_name: str, no_streamer: bool, web: bool, **options: Any
) -> None:
    """Talk to the model of a run (default: the last that succeeded), of a folder, or of a hub (hf://owner/name, ms://owner/name)."""
    from ftbridge.core.console import is_terminal, say
    from ftbridge.core.errors import UsageError
    from ftbridge.dialogue import terminal
    from ftbridge.dialogue.chat import chat_sessions
    from ftbridge.dialogue.generation import Sampling
    from ftbridge.dialogue.web import serve

    if web and prompt is not None:
        raise UsageError(_("`--web` makes a page to ask in, and `--prompt` asks without one; use one of them"))
    if not web and (options["allow_hosts"] or options["password"] is not None):
        raise UsageError(_("`--allow-host` and `--password` are for the page; add `--web`, or leave them out"))
    if not web and (prompt == "-" or (prompt is None and not is_terminal(sys.stdin))):
        prompt = _question_from_stdin(source)
    system = _system_prompt(options.pop("system"), options.pop("system_template"), bot_name)
    sampling = Sampling(**{name: options.pop(name) for name in Sampling.__struct_fields__})
    page = {name: options.pop(name) for name in ("host", "port", "allow_hosts", "password")}
    page["password"] = _page_password(page["password"])
    loading = None if prompt is not None else lambda: say(_("loading the model ..."))
    conversations = chat_sessions(
        source, compare=compare, system=system, sampling=sampling, callback=loading, **options
    )
    if web:
        serve(conversations, **page)
        return
    with conversations as found:
        if prompt is None:
            terminal.converse(found, name=bot_name, stream=not no_streamer)
        else:
            terminal.show(found, lambda talk: talk.say(prompt), name=bot_name, stream=not no_streamer)


def _page_password(given: str | None) -> str | None:
    """Return the page's password; no process that is started gets to see it. An empty variable is as none."""
    set_there = os.environ.pop("FTBRIDGE_PASSWORD", None) or None
    return set_there if given is None else given


def _system_prompt(text: str | None, template: str | None, bot_name: str) -> str | None:
    from ftbridge.core.errors import UsageError
    from ftbridge.dialogue.system_templates import system_prompt

    if template and text is not None:
        raise UsageError(_("`--system` and `--system-template` both give the system prompt; use one of them"))
    return system_prompt(template, bot_name) if template else text


def _question_from_stdin(source: str | None) -> str:
    """Return the question on stdin; where there is none, the first thing to say is that no run would answer it."""
    from ftbridge.core.console.notebook import is_of_notebook
    from ftbridge.core.errors import InputError, UsageError
    from ftbridge.core.project import Project
    from ftbridge.weights.source import last_succeeded

    if sys.stdin.isatty() and is_of_notebook():
        raise UsageError(_("a notebook cell cannot be typed into; give `--prompt`, or call `ftbridge.chat`"))
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(
            _("stdin is not UTF-8 text ({error}); convert it, as with `iconv -f GB18030`").format(error=error)
        ) from error
    if not text:
        if source is None:
            last_succeeded(Project.find())
        raise InputError(_("there is no question on stdin; pipe one in, or start `ftbridge chat` in a terminal"))
    return text
