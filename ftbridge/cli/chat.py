"""`ftbridge chat`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ftbridge.dialogue.chat import Talk


@click.command("chat")
@click.argument("source", metavar="[RUN|FOLDER]", required=False)
@click.option("--prompt", metavar="TEXT", help="Answer this once and exit.")
@click.option("--system", metavar="TEXT", help="Instead of the training's system prompt.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=512, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="0: always the likeliest token.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
def command(
    source: str | None,
    prompt: str | None,
    system: str | None,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    device: str,
) -> None:
    """Talk to the model of a run (default: the last) or of a folder."""
    from ftbridge.core.console import say
    from ftbridge.dialogue.chat import talk
    from ftbridge.dialogue.generation import Sampling

    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    if prompt is None:
        say("loading the model ...")
    with talk(source, system=system, sampling=sampling, device=device) as conversation:
        if prompt is not None:
            _answer(conversation, prompt)
            return
        say("Ask away. /reset forgets what was said, /exit (or Ctrl-D) ends.")
        _converse(conversation)


def _converse(conversation: "Talk") -> None:
    while True:
        try:
            question = input("\n> ").strip()
        except EOFError:
            return
        if question == "/exit":
            return
        if question == "/reset":
            conversation.reset()
        elif question:
            _answer(conversation, question)


def _answer(conversation: "Talk", question: str) -> None:
    for piece in conversation.say(question):
        click.echo(piece, nl=False)
    click.echo()
