"""`ftbridge chat`."""

import os
import sys
from typing import Any

import click

from ftbridge.cli.export import checkpoint_option

bits_option = click.option(
    "--bits",
    type=click.Choice(["4", "8"]),
    callback=lambda _context, _option, value: value and int(value),
    help="Quantise the model (bitsandbytes), on the CPU as well.",
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    help="auto: the model's own; on a GPU without bfloat16, float16 instead of that.",
)


@click.command("chat")
@click.argument("source", metavar="[RUN|FOLDER]", required=False)
@click.option("--prompt", metavar="TEXT", help="Answer this once and exit; `-`, or a pipe, reads it from stdin.")
@click.option("--compare", is_flag=True, help="Answer with the model before and after the training, side by side.")
@click.option("--system", metavar="TEXT", help='Instead of the training\'s system prompt; "" for none.')
@click.option(
    "--system-template",
    metavar="NAME",
    help="The same by name: alpaca, arxiv_gentile, coder, colorist, lawyer, medical, moss_sft or sql.",
)
@click.option("--bot-name", metavar="NAME", default="", help="Stands before answers, and in moss_sft.")
@click.option("--stop-word", "stop_words", metavar="TEXT", multiple=True, help="Ends an answer; repeat for several.")
@click.option("--no-streamer", is_flag=True, help="Print an answer when it is whole.")
@click.option("--max-new-tokens", type=click.IntRange(1, 2**31 - 1), default=512, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="0: always the likeliest token.",
)
@click.option("--top-k", type=click.IntRange(0), default=40, show_default=True, help="Of so many tokens; 0: of all.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.75, show_default=True)
@click.option("--repetition-penalty", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@dtype_option
@bits_option
@click.option("--offload-folder", type=click.Path(), metavar="DIR", help="For what does not fit into memory.")
@checkpoint_option
@click.option("--model", metavar="BASE", help="The base model, where it is not known, or another one.")
@click.option("--template", metavar="FAMILY", help="The model's family, where it is not told from its files.")
@click.option("--thinking", is_flag=True, help="Let a Qwen 3 model think; training has it off.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the model.")
@click.option("--web", is_flag=True, help="Talk in a page for the browser, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The page's address; another one lets others in.")
@click.option("--allow-host", "allow_hosts", metavar="NAME", multiple=True, help="A name of the page; may be repeated.")
@click.option("--password", metavar="TEXT", help="Of the page; or FTBRIDGE_PASSWORD. With `--host`, one is made up.")
@click.option("--port", type=click.IntRange(1, 65535), help="The page's port (default: 7860, or the next free one).")
def command(
    source: str | None, prompt: str | None, compare: bool, bot_name: str, no_streamer: bool, web: bool, **options: Any
) -> None:
    """Talk to the model of a run (default: the last), of a folder, or of a hub (hf://owner/name, ms://owner/name)."""
    from ftbridge.core.console import say
    from ftbridge.core.errors import UsageError
    from ftbridge.dialogue import terminal
    from ftbridge.dialogue.chat import chat_sessions
    from ftbridge.dialogue.generation import Sampling
    from ftbridge.dialogue.web import serve

    if web and prompt is not None:
        raise UsageError("`--web` makes a page to ask in, and `--prompt` asks without one; use one of them")
    if not web and (options["allow_hosts"] or options["password"] is not None):
        raise UsageError("`--allow-host` and `--password` are for the page; add `--web`, or leave them out")
    if not web and (prompt == "-" or (prompt is None and not sys.stdin.isatty())):
        prompt = _piped()
    system = _system(options.pop("system"), options.pop("system_template"), bot_name)
    sampling = Sampling(**{name: options.pop(name) for name in Sampling.__struct_fields__})
    page = {name: options.pop(name) for name in ("host", "port", "allow_hosts", "password")}
    page["password"] = _password(page["password"])
    conversations = chat_sessions(source, compare=compare, system=system, sampling=sampling, **options)
    if web:
        serve(conversations, **page)
        return
    if prompt is None:
        say("loading the model ...")
    with conversations as found:
        if prompt is None:
            terminal.converse(found, name=bot_name, stream=not no_streamer)
        else:
            terminal.show(found, lambda talk: talk.say(prompt), name=bot_name, stream=not no_streamer)


def _password(given: str | None) -> str | None:
    """Return the page's password; no process that is started gets to see it. An empty variable is as none."""
    set_there = os.environ.pop("FTBRIDGE_PASSWORD", None) or None
    return set_there if given is None else given


def _system(text: str | None, template: str | None, bot_name: str) -> str | None:
    from ftbridge.core.errors import UsageError
    from ftbridge.dialogue.system_templates import system_prompt

    if template and text is not None:
        raise UsageError("`--system` and `--system-template` both give the system prompt; use one of them")
    return system_prompt(template, bot_name) if template else text


def _piped() -> str:
    """Return the question on stdin."""
    from ftbridge.core.errors import InputError

    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is no UTF-8 text ({error}); convert it, as with `iconv -f GB18030`") from error
    if not text:
        raise InputError("there is no question on stdin; pipe one in, or start `ftbridge chat` in a terminal")
    return text
