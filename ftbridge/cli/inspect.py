"""`ftbridge inspect`: what a source holds, and how it would be read."""

from typing import TYPE_CHECKING, Any

import click

from ftbridge.cli.options import READING, Command, complete_file, json_option, reading_options
from ftbridge.cli.output import field_lines, print_parts, shape_in_words, show_row_count, table_location
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftbridge.adapters.inspect import Profile
    from ftbridge.cli.output import Rows


@click.command(
    cls=Command,
    short_help=_("Show what a source holds, and how it would be read."),
    headings={_("Source"): READING},
    examples=("ftbridge inspect medqa.xlsx", "ftbridge inspect questions.csv --encoding gb18030"),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", shell_complete=complete_file)
@reading_options
@json_option
def command(sources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show the sheets of SOURCE, their columns with types, empty cells and lengths, and the reading of each.

    SOURCE is anything that `ftbridge convert` takes.  Nothing is written.
    """
    from ftbridge.adapters.inspect import inspect
    from ftbridge.core.console import print_json, result

    with show_row_count() as progress:
        found = inspect(*sources, callback=progress, **options)
    if as_json:
        print_json(found)
    else:
        for number, profile in enumerate(found):
            if number:
                result("")
            print_parts(_profile_lines(profile), apart=False)


def _profile_lines(profile: "Profile") -> "Iterator[str | Rows]":
    from ftbridge.core.console import counted

    broken = _(", {broken:,} that cannot be read").format(broken=profile.broken) if profile.broken else ""
    yield joined(": ", (table_location(profile), f"{counted(profile.rows, 'row')}{broken}"))
    yield from (_("  note: {note}").format(note=note) for note in profile.notes)
    rows = [("", _("column"), _("types"), _("empty"), _("characters"), _("example"))]
    columns = [column for column in profile.columns if column.types or not column.name.startswith("[")]
    for column in columns:
        types = joined(", ", (f"{count:,} {_(kind)}" for kind, count in column.types.items()))
        lengths = (
            _("{shortest:,} to {longest:,}, mean {mean:,}").format(
                shortest=column.shortest, longest=column.longest, mean=column.mean
            )
            if types
            else ""
        )
        rows.append((column.letter, column.name, types, f"{column.empty:,}", lengths, column.example))
    yield rows
    if empty := len(profile.columns) - len(columns):
        yield _("and {columns} without a header and values").format(columns=counted(empty, "column"))
    if profile.choice:
        yield _("will be read as: {shape}").format(shape=shape_in_words(profile.choice.shape, profile.preset))
        yield from field_lines(profile.choice)
    else:
        yield _("cannot be read yet: {why}").format(why=profile.unclear)
