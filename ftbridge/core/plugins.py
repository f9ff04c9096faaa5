"""Look-up of sources, targets and backends: built-ins and third parties through the same entry points.

A plugin is a module of the entry-point group `ftbridge.sources`, `ftbridge.targets` or `ftbridge.backends`,
imported when it is first used. The protocols below say what each family's module offers; the shortest
built-in of a family is the one to copy.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ftbridge.core.errors import InputError, QuestionError, SetupError, UsageError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.core.records import Conversation, Row, moved

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


# How many rows a table gives as its first.
FIRST = 100
# Names of delimiters that a shell makes hard to type.
DELIMITERS = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How sources are to be read; what is left open, a source finds out by itself.

    `header_row` counts from 1, and 0 says that there is none; `encoding` is a codec's name. `delimiter` is a character
    or its name, `quote` a character or "none". `exact` takes JSON only as the frameworks' own loader does. Raises
    UsageError for what can be none of these.
    """

    sheets: tuple[str, ...] = ()
    all_sheets: bool = False
    header_row: int | None = None
    fill_merged: bool = False
    as_shown: bool = False
    encoding: str = ""
    exact: bool = False
    delimiter: str = ""
    quote: str = ""

    def __post_init__(self) -> None:
        """Refuse what can stand neither between nor around cells; raises UsageError."""
        if len(self.separator) > 1 or self.separator in {"\r", "\n", "\0"}:
            names = ", ".join(f"`{name}`" for name in DELIMITERS)
            raise UsageError(f"`--delimiter` takes one character, or {names}; got {self.delimiter!r}")
        if self.quote != "none" and (len(self.quote) > 1 or self.quote in {"\r", "\n", "\0", "\t", " "}):
            raise UsageError(f'`--quote` takes one character, such as `"`, or `none`; got {self.quote!r}')
        if self.quote and self.quote == self.separator:
            raise UsageError(
                f"`--quote` and `--delimiter` are both `{self.quote}`; one stands around cells, one between"
            )

    @property
    def separator(self) -> str:
        """Return the character that is to stand between cells, "" where that is to be found."""
        return DELIMITERS.get(self.delimiter, self.delimiter)

    @property
    def quoting(self) -> str | None:
        """Return the character that is to stand around cells, "" where quotes mean nothing, None for what is found."""
        return "" if self.quote == "none" else self.quote or None

    def refuse_sheets(self, path: Path, kind: str) -> None:
        """Raise InputError where sheets are asked for, which `path`, of this `kind`, does not have."""
        if self.sheets:
            raise InputError(f"`{path}` is {kind} and has no sheets; leave `--sheet` out")

    def refuse_delimiter(self, path: Path) -> None:
        """Raise InputError where cells are to be told apart in `path`, which is no delimited text."""
        if self.delimiter or self.quote:
            raise InputError(f"`{path}` is no delimited text; leave `--delimiter` and `--quote` out")


class Piece(Protocol):
    """A stretch of a table's rows that can be read without those before it."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; `where.row` counts on from the last row of the piece before, as if that were 0.

        An empty row is yielded without values. Raises InputError where the source is damaged.
        """


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """An opened source, or a sheet or a split of one.

    `file` is its name in messages; `first` are its first rows, up to `FIRST` of them, which the pieces bring again.
    The pieces are read once, in order; `cut` says that they are values that other processes can read.
    `lettered` says that columns have letters, as in a sheet; `part` is train, validation or test where the
    source says so; `notes` are told to the user, such as a guessed encoding, and so are those in `late`, which come
    in as the rows are read; `streamed` says that the rows come over a network as they are read; `revision` identifies
    the content where it is no file, such as a hub's commit. `asks` is what the user must decide before the rows are
    read, such as which row holds the headers; `unsure` whether there are headers at all, to be decided where columns
    are meant by their places.
    """

    file: str
    columns: tuple[str, ...]
    pieces: Iterable[Piece]
    first: tuple[Row, ...]
    cut: bool = False
    sheet: str = ""
    lettered: bool = False
    part: str = ""
    notes: tuple[str, ...] = ()
    late: list[str] = []
    streamed: bool = False
    revision: str = ""
    asks: QuestionError | None = None
    unsure: QuestionError | None = None

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all pieces, once, numbered through."""
        before = last = 0
        for piece in self.pieces:
            for row in piece.rows():
                last = before + row.where.row
                yield moved(row, before)
            before = last


class Rows(msgspec.Struct, frozen=True):
    """The one piece of a source that cannot be cut."""

    iterator: Iterator[Row]

    def rows(self) -> Iterator[Row]:
        """Return the rows, once."""
        return self.iterator


def first_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return up to `FIRST` rows, fewer where they are long."""
    first, size = [], 0
    for row in islice(rows, FIRST):
        first.append(row)
        size += sum(len(str(value)) for value in row.values.values())
        if size > LONGEST:
            break
    return tuple(first)


class Source(Protocol):
    """Reads one file format."""

    def detect(self, path: Path, head: bytes) -> bool:
        """Tell whether this source reads `path`; `head` is its first 4 KiB, unpacked, b"" for a folder."""

    def open_tables(self, path: Path, reading: Reading) -> list[Table]:
        """Open `path`: a table for each sheet or split, at least one.

        Raises InputError with one sentence where it cannot be read, and where `reading` asks for what this format
        does not have.
        """


class Target(Protocol):
    """Writes one training format.

    `entry` holds the keys (formatting, columns, tags) of a file of this format in dataset_info.json, or None
    where LLaMA-Factory does not read the format.
    """

    suffix: str
    entry: dict[str, Any] | None

    def sample(self, conversation: Conversation) -> Any:
        """Return the sample as what msgspec writes as one JSON object; a struct is written faster than a dict."""


# Yields the JSON objects that a file has got since the last call, a line each.
Lines = Callable[[Path], Iterator[dict[str, Any]]]


class Backend(Protocol):
    """Runs one training framework; `plan` is a `ftbridge.launchers.backends.plan.Plan`."""

    title: str
    module: str

    def render(self, plan: Any) -> dict[str, str]:
        """Return the config files by name; the first is the one that the framework is given."""

    def arguments(self, plan: Any) -> list[str]:
        """Return the framework's own arguments for the files that `render` gave."""

    def progress(self, run: Path, lines: Lines, accumulation: int) -> Iterator[dict[str, float]]:
        """Yield what was logged since the last call, in order, from what `lines` gives of the framework's own files.

        A record has step (the optimiser's), loss and learning_rate, or step and validation_loss.
        """

    def checkpoints(self, run: Path, *, best: bool = False) -> list[Path]:
        """Return the readable checkpoints in a run's folder, oldest first.

        With `best`, only that of the lowest validation loss; [] without a validation.
        """


@cache
def _entries(family: str) -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"ftbridge.{family}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise SetupError(
                f"two plugins call themselves `{entry.name}` in ftbridge.{family}: `{other.value}` and "
                f"`{entry.value}`; uninstall one of the packages"
            )
    return found


def names(family: str) -> list[str]:
    """Return the names of all plugins of a family, sorted."""
    return sorted(_entries(family))


def load(family: str, name: str) -> Any:
    """Return the plugin `name` of `family`, importing it; raises UsageError for an unknown name."""
    if name not in _entries(family):
        known = ", ".join(names(family)) or "none is installed"
        raise UsageError(f"there is no {family.rstrip('s')} `{name}`; choose from: {known}")
    return _entries(family)[name].load()


def target(name: str) -> Target:
    """Return the target `name`; raises UsageError for an unknown name."""
    return cast("Target", load("targets", name))


def backend(name: str) -> Backend:
    """Return the backend `name`; raises UsageError for an unknown name."""
    return cast("Backend", load("backends", name))
