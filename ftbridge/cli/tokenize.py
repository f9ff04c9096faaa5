"""`ftbridge tokenize`."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import Command, PluginName, complete_dataset, config_option, json_option, option
from ftbridge.cli.train_options import train_options

if TYPE_CHECKING:
    from ftbridge.launchers.preview.tokenize import TokenizedPart

SHOWN = 20  # conversations that are named


@click.command(
    "tokenize", cls=Command,
    headings={
        "Model and data": "model dataset_dir validation_dataset trust_remote_code",
        "Tokens": "chat_template thinking learn cutoff_length too_long packing",
    },
    examples=("ftbridge tokenize medqa --model base", "ftbridge tokenize medqa --model base --packing"),
)  # fmt: skip
@click.argument("dataset", metavar="[NAME]", required=False, shell_complete=complete_dataset)
@train_options(
    "model", "dataset_dir", "validation_dataset", "cutoff_length", "too_long", "chat_template", "learn", "thinking",
    "packing", "trust_remote_code",
)  # fmt: skip
@option("--backend", type=PluginName("backends"), show_default="any", help="Framework whose environment makes them.")
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
    thinking = f", thinking {found.thinking}" if found.thinking else ""
    result(f"{found.model}, by {found.chat_template}{thinking}; cutoff length {found.cutoff_length}")
    for part in found.parts:
        result(f"\n{_counts_table(part)}")


def _counts_table(part: "TokenizedPart") -> str:
    """Return what came of a dataset's conversations, and where its tokens are, as lines."""
    from ftbridge.core.console import aligned, counted, first_few

    counts = part.counts
    numbers = first_few([str(number) for number in counts.left_out_conversations], SHOWN)
    told = [
        ("lose their oldest turns", counts.cut_turns, ""),
        ("lose the end of their question", counts.cut_question, ""),
        ("do not fit and are left out", counts.left_out, f" (conversations {numbers})"),
        ("conversations without an answer", counts.without_answer, ""),
    ]
    return aligned(
        [
            ("dataset", f"{part.dataset}, {counted(counts.conversations, 'conversation')}"),
            ("samples", f"{counts.samples:,} in {counted(counts.rows, 'row')}"),
            ("tokens", f"{counts.tokens:,}, {counts.answer_tokens:,} of them learned"),
            ("longest", counted(counts.longest, "token")),
            *((name, f"{count:,}{more}") for name, count, more in told if count),
            ("folder", part.folder),
        ]
    )
