"""`ftbridge convert`: data of any kind into both frameworks' formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import (
    READING,
    Choice,
    Command,
    complete_file,
    complete_preset,
    dataset_dir_option,
    json_option,
    option,
    reading_options,
)
from ftbridge.cli.output import (
    WIDTH,
    field_lines,
    print_parts,
    relative_path,
    shape_in_words,
    show_row_count,
    table_location,
)
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext

if TYPE_CHECKING:
    from ftbridge.adapters.convert.result import Conversion, TableRead
    from ftbridge.adapters.convert.selection import Counts
    from ftbridge.cli.output import Rows

# How much is shown of a sample, and of the columns that are left out.
TURNS, COLUMNS = 5, 30


@click.command(
    cls=Command,
    short_help=_("Turn data of any kind into both frameworks' formats."),
    headings={
        _("Source"): READING,
        _("Columns"): "preset set map role label_map",
        _("Text"): "system instruction input output strip max_characters",
        _("Selection and split"): "split stratify seed shuffle sample dedup limit",
        _("Invalid rows"): "on_error max_rejected xlsx",
        _("Dataset"): "name to array replace dataset_dir",
        _("Report"): "dry_run explain as_json",
    },
    examples=("ftbridge convert medqa.xlsx --split 7:3", "ftbridge convert chat.jsonl --split 8:1:1"),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", shell_complete=complete_file)
@reading_options
@option(
    "--preset",
    default="",
    metavar="NAME",
    shell_complete=complete_preset,
    show_default=_("recognised"),
    help=_("Read the source as a well-known dataset; `ftbridge presets` lists them."),
)
@option("--set", multiple=True, metavar="KEY=VALUE", help=_("Setting of a preset that generates its rows."))
@option(
    "--map",
    multiple=True,
    metavar="FIELD=COLUMN",
    show_default=_("recognised by the headers"),
    help=_(
        "Column of a field (messages, system, instruction, input, thought, output, history): "
        'a header, a letter, or an index from 1 (`"2"` is a header); repeatable.'
    ),
)
@option(
    "--role",
    multiple=True,
    metavar="NAME=ROLE",
    help=_("Role of a name in conversations, as in `doctor=assistant`: user, assistant or system; repeatable."),
)
@option(
    "--label-map",
    multiple=True,
    metavar="VALUE=TEXT|FILE",
    help=_("Text of a label, as in `7=Electricity`, or a YAML file of them; repeatable."),
)
@option("--system", metavar="TEXT", help=_("System prompt of samples without one; `@FILE` reads it from a file."))
@option(
    "--instruction",
    metavar="TEMPLATE",
    help=_("Jinja template of the instruction, as in `Classify: {{text}}`; `@FILE` reads it from a file."),
)
@option("--input", metavar="TEMPLATE", help=_("Jinja template of the input; `@FILE` reads it from a file."))
@option("--output", metavar="TEMPLATE", help=_("Jinja template of the answer; `@FILE` reads it from a file."))
@option("--strip", is_flag=True, help=_("Strip whitespace from both ends of texts."))
@option("--max-characters", type=int, show_default="1000000", help=_("Reject texts longer than this."))
@option(
    "--split", metavar="RATIO", help=_("Parts to make: `7:3` (train, test), `8:1:1` (validation, too), or `test=200`.")
)
@option("--stratify", default="", metavar="FIELD", help=_("Split each value of this field or column in proportion."))
@option("--seed", default=42, help=_("Seed of the split."))
@option("--shuffle/--no-shuffle", default=True, help=_("Split at random; --no-shuffle keeps the order of the rows."))
@option("--sample", default="", metavar="N,N", help=_("Sizes of nested subsets of the training part, as in `100,500`."))
@option(
    "--dedup",
    type=Choice(["exact", "normalized"]),
    help=_("Drop duplicate samples; normalized ignores case, width and whitespace."),
)
@option("--limit", type=int, help=_("Take only the first N samples."))
@option(
    "--on-error",
    type=Choice(["stop", "skip"]),
    default="stop",
    help=_("On invalid rows: stop, or skip them and write them to NAME.rejected.jsonl."),
)
@option("--max-rejected", default="", metavar="N|P%", help=_("Skip at most this many invalid rows."))
@option("--xlsx", is_flag=True, help=_("Write skipped rows to NAME.rejected.xlsx as well."))
@option("--name", metavar="NAME", show_default=_("the source's name"), help=_("Name of the dataset."))
@option(
    "--to",
    default="xtuner,alpaca,messages",
    metavar="NAME,NAME",
    help=_("Formats to write: xtuner, alpaca, messages, sharegpt."),
)
@option("--array", is_flag=True, help=_("Write one JSON array instead of JSON lines."))
@option("--replace", is_flag=True, help=_("Replace a dataset of the same name, with all its parts."))
@dataset_dir_option("data")
@option("--dry-run", is_flag=True, help=_("Read and check everything, write nothing."))
@option("--explain", is_flag=True, help=_("Like --dry-run, and explain how the columns were recognised."))
@json_option
def command(sources: tuple[str, ...], dry_run: bool, explain: bool, as_json: bool, **options: Any) -> None:
    """Turn SOURCE into training data for XTuner and LLaMA-Factory, and register it for both.

    SOURCE is a workbook, CSV, JSON, JSON lines, Parquet or Arrow file, packed or not, a folder or glob of them, `-`
    for standard input, a dataset of a hub (hf://owner/name, ms://owner/name), or preset:NAME.  Several make one
    dataset.
    """
    from ftbridge.adapters.convert.options import text_or_file
    from ftbridge.adapters.convert.pipeline import convert
    from ftbridge.core.console import print_json

    for name in ("map", "role", "set"):
        options[name] = parse_pairs(options[name], f"--{name}")
    options["label_map"] = _label_map(options["label_map"])
    options["to"] = [name.strip() for name in options["to"].split(",")]
    for name in ("instruction", "input", "output", "system"):
        options[name] = None if options[name] is None else text_or_file(options[name])
    with show_row_count() as progress:
        done = convert(*sources, callback=progress, dry_run=dry_run or explain, **options)
    if as_json:
        print_json(done)
    else:
        choosing = [f"`--{name}`" for name in ("limit", "split") if options[name]]
        print_parts(_summary_lines(done, choosing, explain=explain), apart=False)


def parse_pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Return KEY=VALUE texts as a dict; raises UsageError."""
    from ftbridge.core.errors import UsageError

    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.rpartition("=") if option == "--role" else text.partition("=")
        if not equals or not value or not key:
            example = {
                "--map": _("FIELD=COLUMN, as in `--map instruction=A`"),
                "--role": _("NAME=ROLE, as in `--role doctor=assistant`"),
            }
            raise UsageError(
                _("`{option}` takes {example}; got `{text}`").format(
                    option=option, example=example.get(option, "KEY=VALUE"), text=text
                )
            )
        if key in found:
            raise UsageError(_("`{option}` names `{key}` twice").format(option=option, key=key))
        found[key] = value
    return found


def _label_map(texts: tuple[str, ...]) -> dict[str, str]:
    from ftbridge.adapters.mapping.label_map import load_label_map
    from ftbridge.core.errors import UsageError

    found: dict[str, str] = {}
    for text in texts:
        is_file = "=" not in text or Path(text).is_file()
        more = load_label_map(Path(text)) if is_file else parse_pairs((text,), "--label-map")
        if double := found.keys() & more.keys():
            raise UsageError(_("`--label-map` has two texts for the label `{min}`; give one").format(min=min(double)))
        found |= more
    return found


def _summary_lines(done: "Conversion", choosing: list[str], *, explain: bool) -> "Iterator[str | Rows]":
    """Yield what was read and written; `choosing` are the options that leave rows out."""
    shown: list[tuple[object, ...]] = []
    for read in done.tables:
        how = (read.shape, read.columns, read.left_out, read.system, read.notes, read.why)
        yield joined(": ", (table_location(read), shape_in_words(read.shape, read.preset)))
        if how in shown:
            continue
        shown.append(how)
        yield from _table_lines(read, explain=explain)
    for number, sample in enumerate(done.tables[0].first, 1):
        yield from _sample_lines(number, sample)
    counts = done.counts
    yield ""
    yield from _notes_on_all_samples(done)
    yield [*_part_rows(done)]
    yield _sum_line(counts, choosing)
    if counts.shared:
        yield ngettext(
            "warning: {count:,} sample of another part has a question of the training part",
            "warning: {count:,} samples of other parts have a question of the training part",
            counts.shared,
        ).format(count=counts.shared)
    if done.rejected_file:
        rejected = filter(None, (done.rejected_file, done.rejected_workbook))
        yield _("rejected rows: {files}").format(files=joined(", ", (str(relative_path(file)) for file in rejected)))
    yield _registry_changes(done)
    if not done.dry_run:
        yield "\n" + _("next: {command}").format(command="ftbridge train")


def _sum_line(counts: "Counts", choosing: list[str]) -> str:
    """Return how many rows there were, and what became of them, without what is 0."""
    from ftbridge.core.console import counted

    found = [
        (counts.written, _("{count:,} written")),
        (counts.rejected, _("{count:,} rejected")),
        (counts.duplicates, _("{count:,} duplicate")),
        (counts.left_out, _("{count:,} not used ({options})")),
        (counts.empty, _("{count:,} empty")),
    ]
    options = joined(", ", choosing)
    became = joined(_(", "), (text.format(count=count, options=options) for count, text in found if count))
    return _("{rows}: {became}").format(rows=counted(counts.read + counts.empty, "row"), became=became)


def _part_rows(done: "Conversion") -> Iterator[tuple[str, ...]]:
    """Yield the table of parts and their files, without those of formats that cannot hold any of a part's samples."""
    folder = relative_path(done.dataset_dir)
    yield _("part"), _("samples"), _("files in {folder}").format(folder=folder)
    for part in done.parts:
        endings = ", ".join(file.name.removeprefix(part.name) for file in part.files.values())
        yield part.name, f"{part.samples:,}", f"{part.name}{endings}"


def _notes_on_all_samples(done: "Conversion") -> Iterator[str]:
    """Yield what is to be known of all samples together."""
    from ftbridge.adapters.values import shorten

    system = repr(shorten(done.system, WIDTH)) if done.system else _("none")
    if done.several_systems:
        yield _(
            "note: the rows have different system prompts; `chat` asks with {system} unless `--system` says another"
        ).format(system=system)
    elif done.system and any(table.system != done.system for table in done.tables):
        yield _("system prompt of all samples: {system}").format(system=system)
    for note in done.notes:
        yield _("note: {note}").format(note=note)


def _registry_changes(done: "Conversion") -> str:
    """Return what has become of the registered datasets."""
    if not done.changed:
        return _("unchanged: this dataset exists already")
    replaced, removed = _("replaced"), _("removed")
    if done.dry_run:
        replaced, removed = _("would replace"), _("would remove")
    anew = [
        _("{replaced} {name} ({before:,} to {after:,})").format(
            replaced=replaced, name=each.name, before=each.before, after=each.after
        )
        for each in done.replaced
        if each.after
    ]
    gone = [
        _("{removed} {name} ({before:,})").format(removed=removed, name=each.name, before=each.before)
        for each in done.replaced
        if not each.after
    ]
    lines = [joined(_(", "), [*anew, *gone])] if done.replaced else []
    files = {done.rejected_file, done.rejected_workbook, *(file for part in done.parts for file in part.files.values())}
    for file in done.edited:
        what = replaced if file in files else removed
        lines.append(
            _("{what} {file}, which was changed since it was converted").format(what=what, file=relative_path(file))
        )
    registry = relative_path(done.dataset_dir / "dataset_info.json")
    return "\n".join(
        [*lines, _("nothing was written") if done.dry_run else _("registered in {registry}").format(registry=registry)]
    )


def _table_lines(table: "TableRead", *, explain: bool) -> Iterator[str]:
    """Yield what the samples are made of."""
    from ftbridge.adapters.values import shorten
    from ftbridge.core.console import first_few, padded

    yield from field_lines(table)
    if table.labels:
        labels = [f"{value} = {text}" for value, text in table.labels.items() if value != text]
        yield f"  {padded(_('labels'), 12)} {shorten(joined(', ', labels), WIDTH)}"
    if table.system:
        yield f"  {'system':<12} {shorten(table.system, WIDTH)!r}"
    if table.left_out:
        yield f"  {padded(_('not used'), 12)} {first_few([*map(shorten, table.left_out)], COLUMNS)}"
    for note in table.notes:
        yield f"  {padded(_('note'), 12)} {note}"
    if explain:
        yield from (f"  {padded(_('why'), 12)} {line}" for line in table.why)


def _sample_lines(number: int | str, sample: Any) -> Iterator[str]:
    from ftbridge.adapters.values import shorten
    from ftbridge.core.console import counted

    for turn in sample.turns[:TURNS]:
        for text in filter(None, (turn.instruction, turn.input)):
            yield f"  {number:<3} {shorten(text, WIDTH)}"
            number = ""
        for heard in turn.observations:
            yield _("  {number:<3} tool: {content}").format(number=number, content=shorten(heard.content, WIDTH))
            number = ""
        for said in filter(None, (turn.output, turn.calls)):
            yield f"   -> {shorten(said, WIDTH)}"
    if (more := len(sample.turns) - TURNS) > 0:
        yield _("      and {turns}").format(turns=counted(more, "more turn"))
