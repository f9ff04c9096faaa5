"""`ftbridge convert`: a workbook or JSON into both frameworks' data."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from ftbridge.adapters.convert import Conversion


@click.command(short_help="Turn a workbook or JSON into both frameworks' data.")
@click.argument("source", type=click.Path())
@click.option("--name", help="Name of the dataset (default: the file's name).")
@click.option("--sheet", help="Sheet of the workbook (default: the one with questions and answers).")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Read system, instruction, input, output or history from COLUMN: a header, a letter, or an "
    "index from 1.  Repeatable; without it, headers are recognised.",
)
@click.option("--system", metavar="TEXT", help="System prompt of samples that bring none.")
@click.option("--split", metavar="7:3", help="Make a training and a test part, in this proportion.")
@click.option("--seed", default=42, show_default=True, help="Seed of the shuffle before a split.")
@click.option("--shuffle/--no-shuffle", default=True, help="Shuffle before a split, or keep the file's order.")
@click.option("--array", is_flag=True, help="Write one JSON array instead of JSON lines.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do about rows that cannot be used; skipped ones go to NAME.rejected.jsonl.",
)
@click.option("--replace", is_flag=True, help="Take the place of a dataset that another source has made.")
@click.option(
    "--dataset-dir",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Folder of datasets (default: data, in the project's folder).",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(source: str, maps: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Turn SOURCE into training data for XTuner and LLaMA-Factory, and register it for both.

    SOURCE is an .xlsx workbook, JSON lines, a JSON array, or a folder saved by datasets.save_to_disk.
    """
    from ftbridge.adapters.convert import convert
    from ftbridge.core.console import result

    done = convert(source, map=_columns(maps), **options)
    if as_json:
        import json

        import msgspec

        result(json.dumps(msgspec.to_builtins(done, enc_hook=str), indent=2))
    else:
        result(_summary(done))


def _columns(maps: tuple[str, ...]) -> dict[str, str]:
    """Return the columns by field, from `FIELD=COLUMN`."""
    from ftbridge.core.errors import UsageError

    columns: dict[str, str] = {}
    for each in maps:
        field, equals, column = each.partition("=")
        if not equals or not column:
            raise UsageError(f"`--map` takes FIELD=COLUMN, as in `--map instruction=A`; got `{each}`")
        if field in columns:
            raise UsageError(f"`--map` names a column for `{field}` twice")
        columns[field] = column
    return columns


def _summary(done: "Conversion") -> str:
    counts = done.counts
    sheet = f", sheet {done.sheet}" if done.sheet else ""
    preset = f" (preset {done.preset})" if done.preset else ""
    lines = [f"{done.source}{sheet}{preset}"]
    lines += [f"  {field:<12} {column}" for field, column in done.columns.items()]
    if done.system:
        lines.append(f"  {'system':<12} {done.system!r}")
    if done.left_out:
        lines.append(f"  {'left out':<12} {', '.join(done.left_out)}")
    lines.append(f"{counts.read} rows read, {counts.written} samples, {counts.rejected} rejected")
    if counts.empty:
        lines[-1] += f", {counts.empty} empty rows passed over"
    if done.rejected_file:
        lines.append(f"rejected rows: {_short(done.rejected_file)}")
    for part in done.parts:
        lines.append(f"{part.name}: {part.samples} samples")
        lines += [f"  {key:<12} {_short(file)}" for key, file in part.files.items()]
    registry = _short(done.dataset_dir / "dataset_info.json")
    lines.append(f"registered in {registry}" if done.changed else "nothing has changed: all of this was there already")
    return "\n".join(lines)


def _short(path: "Path") -> "Path":
    """Return the path as seen from here, where it is in here."""
    here = path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
