"""`ftbridge preview`."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import (
    Command,
    PluginName,
    complete_dataset,
    complete_folder,
    config_option,
    dataset_dir_option,
    json_option,
    option,
    template_option,
)
from ftbridge.cli.output import can_show
from ftbridge.cli.train_options import train_options
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ftbridge.launchers.preview.preview import EncodedSample, Preview
    from ftbridge.launchers.preview.token_statistics import TokenStatistics
    from ftbridge.tokens.ready import Counts

TRAINED = "green"
BAR = 30  # letters of the longest bar


@click.command(
    "preview", cls=Command,
    examples=("ftbridge preview medqa --model base", "ftbridge preview medqa --model base --verify"),
)  # fmt: skip
@click.argument("dataset", metavar="[NAME]", required=False, shell_complete=complete_dataset)
@option(
    "--model", metavar="MODEL", shell_complete=complete_folder, show_default=_("as train's"),
    help=_("Model folder, or a hub's name, of which only the tokenizer and the config are "
        "fetched."),
)  # fmt: skip
@option("--backend", type=PluginName("backends"), show_default="all", help=_("Framework whose encoding is shown."))
@option(
    "-n", "--samples", type=click.IntRange(0), show_default=_("3; 0 with --stats; 20 and more with --verify"),
    help=_("Number of samples to show."),
)  # fmt: skip
@option(
    "--verify", is_flag=True,
    help=_("Compare what the frameworks train on, what the chat template writes, and what the merged folder's "
"template will write."),
)  # fmt: skip
@option("--strict", is_flag=True, help=_("Exit with an error if --verify finds a difference."))
@option(
    "--stats", is_flag=True,
    help=_("Count the tokens of all samples: lengths, tokens in answers, and what the cutoff "
        "length truncates."),
)  # fmt: skip
@option("--token-table", is_flag=True, help=_("Show every token with its id and its label as well."))
@option("--png", type=click.Path(), metavar="FILE", show_default=_("NAME-lengths.png"), help=_("Picture of --stats."))
@option("--cutoff-length", type=click.IntRange(1), show_default="2048", help=_("Longest sample in tokens."))
@train_options("tokens", "chat_template", "thinking", "learn", "too_long", "packing")
@template_option
@dataset_dir_option(_("the last conversion's, else data"))
@option("--trust-remote-code", is_flag=True, default=None, help=_("Run Python code that comes with the model."))
@config_option
@json_option
def command(
    dataset: str | None,
    samples: int | None,
    stats: bool,
    verify: bool,
    strict: bool,
    token_table: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what a training would see of the dataset NAME (default: the last conversion's).

    The text of the first samples, with what is learned in colour (or in brackets). --token-table adds every token with
    its id and its label, "-" where it is not learned. Both are the same for all frameworks; with --tokens native they
    are shown for each, by its own code.
    """
    from ftbridge.core.console import print_json, say
    from ftbridge.launchers.preview.preview import preview

    if verify or strict:
        _verify(dataset, {**options, "samples": samples}, stats=stats, verify=verify, strict=strict, as_json=as_json)
        return
    count = samples if samples is not None else 0 if stats else 3
    found = preview(dataset, samples=count, stats=stats, **options)
    if as_json:
        print_json(found, indent=0)
    else:
        _print_preview(found, token_table=token_table)
    for warning in found.warnings:
        say(_("warning: {warning}").format(warning=warning))


def _verify(
    dataset: str | None, options: dict[str, Any], *, stats: bool, verify: bool, strict: bool, as_json: bool
) -> None:
    """Print samples as all who read them have them."""
    from ftbridge.cli.verification import print_verification
    from ftbridge.core.console import print_json
    from ftbridge.core.errors import UsageError
    from ftbridge.launchers.preview import verification
    from ftbridge.weights.model_files.chat_template import text_of_native

    if not verify:
        raise UsageError(_("`--strict` is for `--verify`; add `--verify`"))
    if stats or options.pop("png"):
        raise UsageError(_("`--verify` shows samples, and `--stats` counts them; leave one of them out"))
    found = verification.verify(dataset, text_of_native, **options)
    if as_json:
        print_json(found, indent=0)
    else:
        print_verification(found)
    if strict:
        found.refuse_differences()


def _print_preview(found: "Preview", *, token_table: bool) -> None:
    """Print the preview, with colours where the terminal shows them."""
    from ftbridge.core.console import escaped, rich_console

    console = rich_console(width=None if sys.stdout.isatty() else 160)
    about = _("{dataset} for {model} ({family}), cutoff length {cutoff_length}").format(
        dataset=found.dataset, model=found.model, family=found.family, cutoff_length=found.cutoff_length
    )
    console.print(
        escaped(_("{about}; ready tokens, the same for every framework").format(about=about) if found.counts else about)
    )
    views = list(found.views.values())
    if views[0].samples:
        before, after = _marks(console)
        inside = _("The text in {before}brackets{after} is learned.").format(before=before, after=after)
        console.print(inside if before else _("The green text is learned."))
    for number in range(len(views[0].samples)):
        console.print(_("\nsample {number} of {samples}").format(number=number + 1, samples=found.samples))
        _print_sample(console, {view.title: view.samples[number] for view in views}, token_table=token_table)
        if found.differences and found.differences[number]:
            console.print(f"\n{found.differences[number]}")
    if views[0].samples and not token_table:
        console.print(_("\n--token-table shows each token with its id and its label"))
    if found.stats:
        _print_stats(console, found)


def _print_sample(console: "Console", encoded: dict[str, "EncodedSample"], *, token_table: bool) -> None:
    """Show a sample: a text for each way of training it, and a table for each way of encoding it."""
    ways: dict[tuple[int, ...], dict[tuple[int, ...], list[str]]] = {}
    for title, each in encoded.items():
        ways.setdefault(tuple(each.ids), {}).setdefault(tuple(each.labels), []).append(title)
    for by_labels in ways.values():
        titles = {joined(_(" and "), group): encoded[group[0]] for group in by_labels.values()}
        for title, each in titles.items():
            console.print("\n" + joined(": ", (title, _token_counts(each))))
            console.print(_text_with_marks(console, each), soft_wrap=True)
        if token_table:
            console.print()
            console.print(_token_table(titles))


def _token_counts(encoded: "EncodedSample") -> str:
    from ftbridge.core.console import counted

    tokens, learned = len(encoded.ids), sum(label >= 0 for label in encoded.labels)
    shown = (
        _("{tokens} of {length} tokens").format(tokens=tokens, length=encoded.length)
        if encoded.length > tokens
        else counted(tokens, "token")
    )
    return _("{shown}, {learned} learned").format(shown=shown, learned=learned)


def _text_with_marks(console: "Console", encoded: "EncodedSample") -> "Text":
    from rich.text import Text

    from ftbridge.core.console import DIRECTIONS, escaped

    before, after = _marks(console)
    text = Text()
    for stretch in encoded.text:
        shown = escaped(stretch.text, DIRECTIONS)
        text.append(f"{before}{shown}{after}" if stretch.trained else shown, TRAINED if stretch.trained else None)
    return text


def _marks(console: "Console") -> tuple[str, str]:
    """Return what is before and after a learned text: nothing where it has a colour."""
    if console.color_system and not console.no_color:
        return "", ""
    return ("⟦", "⟧") if can_show("⟦⟧") else ("[[", "]]")


def _token_table(titles: dict[str, "EncodedSample"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from ftbridge.core.console import printable

    table = Table(box=None, pad_edge=False)
    for heading in (_("position"), _("id")):
        table.add_column(heading, justify="right")
    table.add_column("token", overflow="fold")
    for title in titles:
        table.add_column(_("label") if len(titles) == 1 else _("label, {title}").format(title=title), justify="right")
    first = next(iter(titles.values()))
    columns = zip(*(each.labels for each in titles.values()), strict=True)
    for position, (token_id, token, labels) in enumerate(zip(first.ids, first.tokens, columns, strict=True), 1):
        shown = [Text(str(label), TRAINED) if label >= 0 else Text("-") for label in labels]
        table.add_row(str(position), str(token_id), Text(f"'{printable(token)}'"), *shown)
    return table


def _print_stats(console: "Console", found: "Preview") -> None:
    from rich.table import Table

    from ftbridge.core.console import escaped
    from ftbridge.launchers.preview.token_statistics import length_histogram

    rows_of = (
        partial(_ready_rows, counts=found.counts) if found.counts else partial(_stats_rows, cutoff=found.cutoff_length)
    )
    columns = {title: rows_of(each) for title, each in found.stats.items()}
    table = Table("", box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, justify="right")
    for row in zip(*(figures.items() for figures in columns.values()), strict=True):
        table.add_row(row[0][0], *(value for _, value in row))
    bins, counts = length_histogram(found.stats)
    bars = Table(_("tokens"), *counts, box=None, pad_edge=False)
    most = max(max(each) for each in counts.values())
    for each, numbers in zip(bins, zip(*counts.values(), strict=True), strict=True):
        cells = (f"{number:>{len(str(most))}} {'#' * round(BAR * number / most)}" for number in numbers)
        bars.add_row(f"{each.start}-{each.stop - 1}" if len(each) > 1 else str(each.start), *cells)
    longest = found.counts.longest if found.counts else max(each.longest for each in found.stats.values())
    console.print("", table, "", bars, "", sep="\n")
    console.print(
        _("`--cutoff-length {longest}` truncates nothing; the picture is {png}").format(
            longest=longest, png=escaped(str(found.png))
        )
    )


def _length_rows(stats: "TokenStatistics") -> dict[str, str]:
    return {
        _("samples"): f"{stats.samples:,}",
        _("tokens"): f"{stats.tokens:,}",
        _("tokens learned"): _count_and_share(stats.answer_tokens, stats.tokens),
        _("tokens of the shortest sample"): f"{stats.shortest:,}",
        _("median tokens"): f"{stats.median:,}",
        _("95 % of samples have at most"): f"{stats.p95:,}",
        _("tokens of the longest sample"): f"{stats.longest:,}",
    }


def _ready_rows(stats: "TokenStatistics", counts: "Counts") -> dict[str, str]:
    """Return what there is to say of ready tokens, of which nothing is cut any more."""
    samples = counts.samples + counts.left_out
    return {
        **_length_rows(stats),
        _("rows"): f"{counts.rows:,}",
        _("oldest turns truncated"): _count_and_share(counts.cut_turns, samples),
        _("end of the question truncated"): _count_and_share(counts.cut_question, samples),
        _("skipped: too long"): _count_and_share(counts.left_out, samples),
        _("skipped: no answer"): _count_and_share(counts.without_answer, counts.conversations),
    }


def _stats_rows(stats: "TokenStatistics", cutoff: int) -> dict[str, str]:
    return {
        **_length_rows(stats),
        _("samples over {cutoff}").format(cutoff=cutoff): _count_and_share(stats.over, stats.samples),
        _("skipped: nothing to train on"): _count_and_share(len(stats.cut["refused"]), stats.samples),
        _("whole answer truncated"): _count_and_share(len(stats.cut["lost"]), stats.samples),
        _("part of the answer truncated"): _count_and_share(len(stats.cut["answer"]), stats.samples),
        _("only the prompt truncated"): _count_and_share(len(stats.cut["question"]), stats.samples),
    }


def _count_and_share(part: int, whole: int) -> str:
    return f"{part:,} ({part / max(1, whole):.1%})"
