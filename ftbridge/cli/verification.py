"""How `ftbridge preview --verify` shows what the readers of a sample have."""

import sys
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from ftbridge.cli.output import can_show
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ftbridge.launchers.preview.verification import Verification, VerifiedSample
    from ftbridge.tokens.differences import Reference

TRAINED, DIFFERENT = "green", "red"
MOST_PLACES = 3  # of one difference in a sample
AROUND = 3  # tokens that are shown around a difference
# A row of the table: the number of the reference's token and of each reader's, None for none.
Row = tuple[int | None, dict[str, int | None]]


def print_verification(found: "Verification") -> None:
    """Print the samples beside each other, and the causes of what differs; with marks where there are no colours."""
    from ftbridge.core.console import escaped, rich_console

    console = rich_console(width=None if sys.stdout.isatty() else 160)
    who = {"once": _("tokens made once by"), "native": _("the frameworks' own tokens, beside")}[found.tokens]
    console.print(
        escaped(
            _("{dataset} for {model}: {who} {chat_template}").format(
                dataset=found.dataset, model=found.model, who=who, chat_template=found.chat_template
            )
        )
    )
    seen: set[tuple[str, str]] = set()
    for number, sample in enumerate(found.samples, 1):
        _print_head(
            console,
            sample,
            _("sample {number}, of conversation {conversation} of {conversations}").format(
                number=number, conversation=sample.conversation, conversations=found.conversations
            ),
        )
        kinds = _kinds(sample)
        if number == 1 or not kinds.keys() <= seen:
            console.print()
            console.print(_token_table(console, sample, whole=number == 1))
            console.print()
        seen |= kinds.keys()
        for (cause, readers), places in kinds.items():
            _print_cause(console, cause, joined(": ", (readers, _(cause))), places)
    console.print()
    _print_summary(console, found)


def _print_head(console: "Console", sample: "VerifiedSample", name: str) -> None:
    from ftbridge.core.console import escaped

    reference = sample.reference
    if not reference.ids:
        told = _("left out, as it is too long")
    else:
        same = _("the same for all") if sample.is_same else _("NOT the same for all")
        learned = sum(label >= 0 for label in reference.labels)
        told = _("{same}; {count} tokens, {learned} learned").format(
            same=same, count=len(reference.ids), learned=learned
        )
    console.print(escaped(joined(": ", (name, told))), style=None if sample.is_same else DIFFERENT)


def _kinds(sample: "VerifiedSample") -> dict[tuple[str, str], list[str]]:
    """Return the places of differences in words, by their cause and who has them."""
    readers: dict[tuple[str, str], list[str]] = {}
    for reader, differences in sample.differences.items():
        for each in dict.fromkeys((each.cause, each.place) for each in differences):
            readers.setdefault(each, []).append(reader)
    found: dict[tuple[str, str], list[str]] = {}
    for (cause, place), names in readers.items():
        found.setdefault((cause, joined(", ", map(_, names))), []).append(place)
    return found


def _print_cause(console: "Console", cause: str, title: str, places: list[str]) -> None:
    from ftbridge.core.console import escaped, first_few
    from ftbridge.tokens.differences import CAUSES

    shown = first_few([each for each in places if each], MOST_PLACES)
    console.print(escaped(_("{title}: {shown}").format(title=title, shown=shown) if shown else title), style=DIFFERENT)
    console.print(f"  {CAUSES[cause]}")


def _print_summary(console: "Console", found: "Verification") -> None:
    from ftbridge.core.console import escaped
    from ftbridge.tokens.agreement import CHAT_TEMPLATE, causes_in_words

    readers = [CHAT_TEMPLATE, *found.readers]
    same = sum(sample.is_same for sample in found.samples)
    console.print(
        escaped(
            _("{same} of {count} samples are the same for {readers}").format(
                same=same, count=len(found.samples), readers=joined(", ", map(_, readers))
            )
        )
    )
    for told in causes_in_words(found.counts()):
        console.print(escaped(told), style=DIFFERENT)


def _token_table(console: "Console", sample: "VerifiedSample", *, whole: bool) -> "Table":
    """Return the tokens beside each other: all of them, or those around differences."""
    from rich.table import Table

    from ftbridge.tokens.agreement import CHAT_TEMPLATE

    coloured = console.color_system is not None and not console.no_color
    table = Table(box=None, pad_edge=False)
    table.add_column("token", justify="right")
    table.add_column("id", justify="right")
    for reader in (CHAT_TEMPLATE, *sample.readings):
        table.add_column(_(reader), overflow="fold")
    rows = [
        (
            _reference_cells(sample.reference, at, coloured=coloured),
            [_cell(sample, at, *each) for each in places.items()],
        )
        for at, places in _rows(sample)
    ]
    differs = [any(cell.style for cell in read) for _, read in rows]
    near = [whole or any(differs[max(0, number - AROUND) : number + AROUND + 1]) for number in range(len(rows))]
    for is_near, group in groupby(zip(near, rows, strict=True), lambda each: each[0]):
        if not is_near:
            table.add_row("...")
            continue
        for _unused, (reference, read) in group:
            table.add_row(*reference, *read)
    return table


def _rows(sample: "VerifiedSample") -> "Iterator[Row]":
    """Yield the rows of the table: each token of the reference, and before it what readers have besides."""
    from ftbridge.tokens.differences import align, pairs

    length = len(sample.reference.ids)
    places: dict[str, dict[int, int]] = {}
    besides: dict[int, dict[str, list[int]]] = {}
    for reader, reading in sample.readings.items():
        hunks = align(sample.reference, reading)
        places[reader] = dict(pairs(hunks, length))
        for hunk in hunks:
            instead = range(hunk.start2, hunk.end2)
            both = min(hunk.end - hunk.start, len(instead))
            places[reader] |= zip(range(hunk.start, hunk.start + both), instead, strict=False)
            besides.setdefault(hunk.start + both, {})[reader] = list(instead[both:])
    for at in range(length + 1):
        more = besides.get(at, {})
        for numbers in zip_longest(*more.values()):
            row = dict(zip(more, numbers, strict=True))
            yield None, {reader: row.get(reader) for reader in sample.readings}
        if at < length:
            yield at, {reader: places[reader].get(at) for reader in sample.readings}


def _cell(sample: "VerifiedSample", at: int | None, reader: str, place: int | None) -> "Text":
    """Return what a reader has in a row: `=` for the same token and label."""
    from rich.text import Text

    from ftbridge.core.console import printable

    reading = sample.readings[reader]
    if place is None:
        return Text("") if at is None else Text(_("{mark} none").format(mark=_mark()), DIFFERENT)
    learned = reading.labels[place] >= 0
    if at is not None and reading.ids[place] == sample.reference.ids[at]:
        if reading.labels[place] == sample.reference.labels[at]:
            return Text("=")
        return Text(
            _("{mark} {learned}").format(mark=_mark(), learned=_("learned") if learned else _("not learned")), DIFFERENT
        )
    text = printable(reading.tokens[place])
    return Text(f"{_mark()} {_in_brackets(text) if learned else text}", DIFFERENT)


def _reference_cells(reference: "Reference", at: int | None, *, coloured: bool) -> "list[str | Text]":
    """Return number, id and text of a token of the reference, in brackets where no colour says that it is learned."""
    from rich.text import Text

    from ftbridge.core.console import printable

    if at is None:
        return ["", "", ""]
    text, learned = printable(reference.tokens[at]), reference.labels[at] >= 0
    shown = _in_brackets(text) if learned and not coloured else text
    return [str(at + 1), str(reference.ids[at]), Text(shown, TRAINED if learned else "")]


def _in_brackets(text: str) -> str:
    return f"⟦{text}⟧" if can_show("⟦⟧") else f"[[{text}]]"


def _mark() -> str:
    return "≠" if can_show("≠") else "!="
