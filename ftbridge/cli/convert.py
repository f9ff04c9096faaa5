"""`ftbridge convert`: data of any kind into both frameworks' formats."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ftbridge.adapters.convert.result import Conversion, TableRead
    from ftbridge.adapters.inspect import Profile

# How much is shown of a sample, and of the columns that are left out.
WIDTH, TURNS, COLUMNS = 70, 5, 30


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how sources are read, the same for `convert` and `inspect`."""
    options = [
        click.option(
            "--sheet",
            multiple=True,
            help="Sheet of a workbook; repeatable (default: what fits; inspect: all).",
        ),
        click.option("--all-sheets", is_flag=True, help="Take every sheet that is not hidden."),
        click.option(
            "--header-row",
            metavar="N|none",
            callback=_header_row,
            help="Row with the headers, from 1; `none` calls columns by letter or number (default: found).",
        ),
        click.option("--fill-merged", is_flag=True, help="Give all cells of a merged range its value."),
        click.option("--as-shown", is_flag=True, help="Take cells as Excel shows them (`25%`), not as stored; slower."),
        click.option("--encoding", default="", help="Encoding of text files (default: found)."),
        click.option(
            "--delimiter",
            default="",
            metavar="CHARACTER",
            help="What stands between cells of a text: `;`, or tab, comma, semicolon, pipe, space (default: found).",
        ),
        click.option(
            "--quote",
            default="",
            metavar="CHARACTER|none",
            help="What stands around cells of a text; `none` takes quotes as they stand (default: found).",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _header_row(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None or value == "none":
        return None if value is None else 0
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"`{value}` is no row; give a number from 1 on, or `none`")
    return int(value)


@click.command(short_help="Turn data of any kind into both frameworks' formats.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--name", help="Name of the dataset (default: the source's name).")
@reading_options
@click.option("--preset", default="", help="Read it as a well-known dataset; `ftbridge presets` lists them.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of a preset that makes its rows.")
@click.option(
    "--map",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Read messages, system, instruction, input, output or history from COLUMN: a header, a letter, or an "
    'index from 1 (`"2"` is a header).  Repeatable; without it, headers are recognised.',
)
@click.option(
    "--role",
    multiple=True,
    metavar="NAME=ROLE",
    help="Say who speaks in conversations, as in `doctor=assistant`: user, assistant or system.  Repeatable.",
)
@click.option("--system", metavar="TEXT", help="System prompt of samples that bring none.")
@click.option(
    "--instruction", metavar="TEMPLATE", help="Jinja template of the instruction, as in `Classify: {{text}}`."
)
@click.option("--input", metavar="TEMPLATE", help="Jinja template of the input.")
@click.option("--output", metavar="TEMPLATE", help="Jinja template of the answer.  `@FILE` reads any template.")
@click.option(
    "--label-map", multiple=True, metavar="VALUE=TEXT", help="Text of an answer, as in `7=Electricity`; or a YAML file."
)
@click.option("--strip", is_flag=True, help="Strip blanks from the ends of texts.")
@click.option("--max-characters", type=int, help="Longest text that is no mistake (default: 1,000,000).")
@click.option(
    "--split", metavar="7:3", help="Make parts: `7:3` (train, test), `8:1:1` (validation too), or `test=200`."
)
@click.option("--stratify", default="", metavar="FIELD", help="Spread the values of a field or column over all parts.")
@click.option("--seed", default=42, show_default=True, help="Seed of the split.")
@click.option("--shuffle/--no-shuffle", default=True, help="Split at random, or at a place of the file.")
@click.option(
    "--sample", default="", metavar="100,500", help="Make nested subsets of the training part, of these sizes."
)
@click.option("--dedup", type=click.Choice(["exact", "normalized"]), help="Leave samples out that are there already.")
@click.option("--limit", type=int, metavar="N", help="Take the first N samples.")
@click.option("--to", default="xtuner,alpaca", show_default=True, help="Formats to write: xtuner, alpaca, sharegpt.")
@click.option("--array", is_flag=True, help="Write one JSON array instead of JSON lines.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do about rows that cannot be used; skipped ones go to NAME.rejected.jsonl.",
)
@click.option("--max-rejected", default="", metavar="N|P%", help="Skip so many rows at most.")
@click.option("--xlsx", is_flag=True, help="Write the rejected rows as NAME.rejected.xlsx as well.")
@click.option("--replace", is_flag=True, help="Take the place of a dataset, and of parts of it, that are there.")
@click.option(
    "--dataset-dir",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Folder of datasets (default: data, in the project's folder).",
)
@click.option("--dry-run", is_flag=True, help="Read and check everything, and write nothing.")
@click.option("--explain", is_flag=True, help="The same, and say why the rows are read as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(sources: tuple[str, ...], dry_run: bool, explain: bool, as_json: bool, **options: Any) -> None:
    """Turn SOURCE into training data for XTuner and LLaMA-Factory, and register it for both.

    SOURCE is a workbook, CSV, JSON, JSON lines, Parquet or Arrow file, packed or not, a folder or glob of them, `-`
    for standard input, a dataset of a hub (hf://owner/name, ms://owner/name), or preset:NAME.  Several make one
    dataset.
    """
    from ftbridge.adapters.convert.pipeline import convert
    from ftbridge.core.console import print_json, result

    for name in ("map", "role", "settings"):
        options[name] = pairs(options[name], "--set" if name == "settings" else f"--{name}")
    options["label_map"] = _labels(options["label_map"])
    options["to"] = [name.strip() for name in options["to"].split(",")]
    for name in ("instruction", "input", "output", "system"):
        options[name] = _text(options[name])
    with rows_shown() as progress:
        done = convert(*sources, progress=progress, dry_run=dry_run or explain, **options)
    if as_json:
        print_json(done)
    else:
        result("\n".join(_summary(done, explain=explain)))


@contextmanager
def rows_shown() -> Iterator[Callable[[int], None] | None]:
    """Yield what shows the number of rows and their rate on a terminal, None where there is none."""
    from ftbridge.core.console import progress_bar

    columns = "spinner", "{task.completed:,} rows, {task.fields[rate]}", "elapsed"
    with progress_bar(*columns, total=None, transient=True, rate="") as bar:
        yield (lambda rows: bar.update(rows, rate=f"{bar.speed:,.0f} rows/s")) if bar else None


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Return KEY=VALUE texts as a dict; raises UsageError."""
    from ftbridge.core.errors import UsageError

    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.rpartition("=") if option == "--role" else text.partition("=")
        if not equals or not value or not key:
            example = {
                "--map": "FIELD=COLUMN, as in `--map instruction=A`",
                "--role": "NAME=ROLE, as in `--role doctor=assistant`",
            }
            raise UsageError(f"`{option}` takes {example.get(option, 'KEY=VALUE')}; got `{text}`")
        if key in found:
            raise UsageError(f"`{option}` names `{key}` twice")
        found[key] = value
    return found


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    from ftbridge.adapters.mapping.label_map import load_label_map
    from ftbridge.core.errors import UsageError

    found: dict[str, str] = {}
    for text in texts:
        is_file = "=" not in text or Path(text).is_file()
        more = load_label_map(Path(text)) if is_file else pairs((text,), "--label-map")
        if double := found.keys() & more.keys():
            raise UsageError(f"`--label-map` has two texts for the label `{min(double)}`; give one")
        found |= more
    return found


def _text(value: str | None) -> str | None:
    """Return a template as given, or the text of the file behind `@`, without the line break that editors put last."""
    from ftbridge.core.files.atomic import read_text

    return read_text(Path(value[1:]), "template").removesuffix("\n") if value and value.startswith("@") else value


def _summary(done: "Conversion", *, explain: bool) -> Iterator[str]:
    from ftbridge.core.console import aligned

    shown: list[tuple[object, ...]] = []
    for table in done.tables:
        how = (table.shape, table.columns, table.left_out, table.system, table.notes, table.why)
        preset = f" (preset {table.preset})" if table.preset else ""
        yield f"{place(table)}: {table.shape}{preset}"
        if how in shown:
            continue
        shown.append(how)
        yield from _reading(table, explain=explain)
    for number, sample in enumerate(done.tables[0].first, 1):
        yield from _sample(number, sample)
    counts = done.counts
    yield ""
    yield from _whole(done)
    rows = [("part", "samples", *done.parts[0].files)]
    rows += [(part.name, f"{part.samples:,}", *map(str, map(short, part.files.values()))) for part in done.parts]
    yield aligned(rows)
    yield (
        f"{counts.read:,} rows read = {counts.written:,} written + {counts.rejected:,} rejected + "
        f"{counts.duplicates:,} duplicates + {counts.left_out:,} left out"
        + (f"; {counts.empty:,} empty rows passed over" if counts.empty else "")
    )
    if counts.shared:
        yield f"warning: {counts.shared:,} samples of other parts have a question of the training part"
    if done.rejected_file:
        files = filter(None, (done.rejected_file, done.rejected_workbook))
        yield f"rejected rows: {', '.join(str(short(file)) for file in files)}"
    yield _end(done)


def _whole(done: "Conversion") -> Iterator[str]:
    """Yield what is to be known of all samples together."""
    from ftbridge.adapters.values import shown

    system = repr(shown(done.system, WIDTH)) if done.system else "none"
    if done.several_systems:
        yield f"note: the rows have different system prompts; `chat` asks with {system} unless `--system` says another"
    elif done.system and any(table.system != done.system for table in done.tables):
        yield f"system prompt of all samples: {system}"
    for note in done.notes:
        yield f"note: {note}"


def _end(done: "Conversion") -> str:
    """Return what has become of the registered datasets."""
    if not done.changed:
        return "nothing has changed: all of this was there already"
    would = "would have " if done.dry_run else ""
    anew = [f"{would}replaced {each.name} ({each.before:,} to {each.after:,})" for each in done.replaced if each.after]
    gone = [f"{would}removed {each.name} ({each.before:,})" for each in done.replaced if not each.after]
    lines = [", ".join([*anew, *gone])] if done.replaced else []
    files = {done.rejected_file, done.rejected_workbook, *(file for part in done.parts for file in part.files.values())}
    for file in done.edited:
        what = "replaced" if file in files else "removed"
        lines.append(f"{would}{what} {short(file)}, which was changed since it was converted")
    registry = short(done.dataset_dir / "dataset_info.json")
    return "\n".join([*lines, "nothing was written" if done.dry_run else f"registered in {registry}"])


def place(table: "TableRead | Profile") -> str:
    """Return the file, and of it the sheet and the part."""
    sheet, part = table.sheet and f", sheet {table.sheet}", table.part and f", part {table.part}"
    return f"{table.file}{sheet}{part}"


def _reading(table: "TableRead", *, explain: bool) -> Iterator[str]:
    """Yield what the samples are made of."""
    from ftbridge.adapters.values import shown

    for field, column in table.columns.items():
        yield f"  {field:<12} {shown(column, WIDTH)}"
    if table.system:
        yield f"  {'system':<12} {shown(table.system, WIDTH)!r}"
    if table.left_out:
        more = len(table.left_out) - COLUMNS
        names = [*map(shown, table.left_out[:COLUMNS]), *([f"and {more:,} more"] if more > 0 else [])]
        yield f"  {'left out':<12} {', '.join(names)}"
    for note in table.notes:
        yield f"  {'note':<12} {note}"
    for line in table.why if explain else ():
        yield f"  {'why':<12} {line}"


def _sample(number: int | str, sample: Any) -> Iterator[str]:
    from ftbridge.adapters.values import shown

    for turn in sample.turns[:TURNS]:
        for text in filter(None, (turn.instruction, turn.input)):
            yield f"  {number:<3} {shown(text, WIDTH)}"
            number = ""
        yield f"   -> {shown(turn.output, WIDTH)}"
    if (more := len(sample.turns) - TURNS) > 0:
        yield f"      and {more:,} more turns"


def short(path: Path) -> Path:
    """Return the path as seen from here, where it is in here."""
    here = path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
