"""`ftbridge tokenize`."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import Command, PluginName, complete_dataset, config_option, json_option, option
from ftbridge.cli.train_options import train_options
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from ftbridge.launchers.preview.tokenize import TokenizedPart

SHOWN = 20  # conversations that are named


@click.command(
    "tokenize", cls=Command,
    headings={
        _("Model and data"): "model dataset_dir validation_dataset trust_remote_code",
        _("Tokens"): "chat_template thinking learn cutoff_length too_long packing",
    },
    examples=("ftbridge tokenize medqa --model base", "ftbridge tokenize medqa --model base --packing"),
)  # fmt: skip
@click.argument("dataset", metavar="[NAME]", required=False, shell_complete=complete_dataset)
@train_options(
    "model", "dataset_dir", "validation_dataset", "cutoff_length", "too_long", "chat_template", "learn", "thinking",
    "packing", "trust_remote_code",
)  # fmt: skip
@option(
    "--backend",
    type=PluginName("backends"),
    show_default=_("any"),
    help=_("Framework whose environment makes the tokens."),
)
@config_option
@json_option
def command(dataset: str | None, as_json: bool, **options: Any) -> None:
    """Make the ready tokens of the dataset NAME (default: the last conversion's).

    `ftbridge train` with the same options takes them, on any framework, and makes them where they are not there. Those
    of the validation set come with them.
    """
    from ftbridge.core.console import print_json, result
    from ftbridge.launchers.preview.tokenize import tokenize

    found = tokenize(dataset, **options)
    if as_json:
        print_json(found)
        return
    thinking = _(", thinking {thinking}").format(thinking=found.thinking) if found.thinking else ""
    result(
        _("tokens for {model}, made with {chat_template}{thinking}; cutoff length {cutoff_length}").format(
            model=found.model, chat_template=found.chat_template, thinking=thinking, cutoff_length=found.cutoff_length
        )
    )
    for part in found.parts:
        result(f"\n{_counts_table(part)}")


def _counts_table(part: "TokenizedPart") -> str:
    """Return what came of a dataset's conversations, and where its tokens are, as lines."""
    from ftbridge.core.console import aligned, counted, first_few

    counts = part.counts
    numbers = first_few([str(number) for number in counts.left_out_conversations], SHOWN)
    told = [
        (_("lose their oldest turns"), counts.cut_turns, ""),
        (_("lose the end of their question"), counts.cut_question, ""),
        (_("do not fit and are skipped"), counts.left_out, _(" (conversations {numbers})").format(numbers=numbers)),
        (_("conversations without an answer"), counts.without_answer, ""),
    ]
    return aligned(
        [
            (_("dataset"), joined(_(", "), (part.dataset, counted(counts.conversations, "conversation")))),
            (_("samples"), _("{samples:,} in {rows}").format(samples=counts.samples, rows=counted(counts.rows, "row"))),
            (
                _("tokens"),
                _("{tokens:,}, {answer_tokens:,} of them learned").format(
                    tokens=counts.tokens, answer_tokens=counts.answer_tokens
                ),
            ),
            (_("longest"), counted(counts.longest, "token")),
            *((name, f"{count:,}{more}") for name, count, more in told if count),
            (_("folder"), part.folder),
        ]
    )
