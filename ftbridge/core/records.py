"""The records that the parts of ftbridge hand to each other: values, never changed once made.

Those of which there are millions are kept from the garbage collector: they never refer to themselves.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TypedDict

import msgspec
from msgspec.structs import replace

from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.files.atomic import LONGEST
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate

# How many rows a table gives as its first.
FIRST = 100
# Names of delimiters that a shell makes hard to type.
DELIMITERS = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
# What rows are counted in: the place of one, in messages.
_PLACES = {
    "line": to_translate("line {number}"),
    "row": to_translate("row {number}"),
    "record": to_translate("record {number}"),
    "element": to_translate("element {number}"),
    "object": to_translate("object {number}"),
    "conversation": to_translate("conversation {number}"),
}
# Text as it stands in JSON, quotes and all, just as msgspec would write it: copied, it need not be decoded.
Text = str | msgspec.Raw


def place_of(unit: str, number: int) -> str:
    """Return where a row is: `line 3` for the third in units of `line`, `train element 3` for `train element`."""
    key, _blank, counted = unit.rpartition(" ")
    place = _(_PLACES[counted]).format(number=number)
    return _("{key} {place}").format(key=key, place=place) if key else place


class Where(msgspec.Struct, frozen=True, gc=False):
    """Where a row comes from; prints as `medqa.xlsx DrugQA!D17`, or `faq.jsonl line 3`.

    `row` counts from 1 as the reader's own program shows it: the row of a sheet, the line of a JSON lines
    file, the element of a JSON array. `unit` is what rows are counted in, in English.
    """

    file: str
    row: int
    sheet: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        return joined(" ", (self.file, self.cell("")))

    def cell(self, letter: str) -> str:
        """Return the address without the file: `DrugQA!D17` for a sheet, `line 3` elsewhere."""
        return (
            _("{sheet}!{letter}{row}").format(sheet=self.sheet, letter=letter, row=self.row)
            if self.sheet
            else place_of(self.unit, self.row)
        )


class Row(msgspec.Struct, frozen=True, gc=False):
    r"""What a source yields: values by column name, or the `error` that keeps the row from being read.

    A value may be a `msgspec.Raw`: JSON just as msgspec would write it (no `\u` and no `\/` in it).
    """

    where: Where
    values: dict[str, Any]
    error: str = ""


def moved(record: Any, base: int) -> Any:
    """Return `record`, which has a `where`, with its row counted on from `base`."""
    return replace(record, where=replace(record.where, row=record.where.row + base)) if base else record


def as_json(text: Text) -> bytes:
    """Return `text` as a JSON string."""
    return bytes(text) if isinstance(text, msgspec.Raw) else msgspec.json.encode(text)


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What a tool answered; `name` and `call` tell the tool and the id of its call, where the source does."""

    content: Text
    name: str = ""
    call: str = ""


class Beside(msgspec.Struct, frozen=True, gc=False):
    """What goes with an answer: whether it is learned, the thought before it, and tools.

    `calls` is the list of its calls of tools as JSON, as in OpenAI's messages but with arguments that are objects. The
    turn after it has what these tools answered, its `observations`, in place of a question.
    """

    train: bool = True
    thought: Text = ""
    calls: str = ""
    observations: tuple[Observation, ...] = ()


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One question and its answer; an empty `instruction` or `input` is "", never null.

    `beside` is None for a question and an answer that is learned, and nothing else; use `turn_of` where it may be more.
    """

    instruction: Text
    input: Text
    output: Text
    beside: Beside | None = None

    @property
    def train(self) -> bool:
        """Tell whether the answer is learned."""
        return self.beside is None or self.beside.train

    @property
    def thought(self) -> Text:
        """Return the thought before the answer, "" for none."""
        return self.beside.thought if self.beside else ""

    @property
    def calls(self) -> str:
        """Return the calls of tools in the answer as a JSON list, "" for none."""
        return self.beside.calls if self.beside else ""

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Return what tools answered before it."""
        return self.beside.observations if self.beside else ()

    @property
    def user(self) -> Text:
        """All that the user says: instruction and input, joined by a newline when both are there."""
        instruction, extra = self.instruction, self.input
        if not extra or not instruction:
            return instruction or extra
        if isinstance(instruction, str) and isinstance(extra, str):
            return f"{instruction}\n{extra}"
        return msgspec.Raw(as_json(instruction)[:-1] + b"\\n" + as_json(extra)[1:])


def turn_of(question: Text, extra: Text, answer: Text, beside: Beside) -> Turn:
    """Return a turn; what says nothing is left out of it."""
    return Turn(question, extra, answer, None if beside == Beside() else beside)


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """One training sample; `label` is its class, for a stratified split, `tools` the list of its tools as JSON."""

    system: Text
    turns: tuple[Turn, ...]
    source: Where
    label: str = ""
    tools: str = ""

    @property
    def uses_tools(self) -> bool:
        """Tell whether tools are offered, called or heard."""
        return bool(self.tools) or any(turn.calls or turn.observations for turn in self.turns)


class EntryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What else decided the content of a dataset, and what its conversion found.

    `dataset` is the conversion's name and `names` are all entries that it made; `asked` are the options that were
    given, as adapters/convert/options.py has them, `beside` is what another dataset_info.json said of the sources, a
    table each. `counts` are the rows by what became of them, `sha256` maps a target to that of its file, `rejected` the
    files of rejected rows to theirs, `sheets` are those read, `notes` what was worth saying of the samples. `not_held`
    maps a target to the number of samples that are not in its file, since it cannot hold them, and `no_place_for` to
    what it has no place for. All is as in JSON, so that an entry that is written and read again is the same.
    """

    dataset: str = ""
    asked: dict[str, Any] = {}
    names: list[str] = []
    beside: list[Any] = []
    counts: dict[str, int] = {}
    sha256: dict[str, str] = {}
    rejected: dict[str, str] = {}
    sheets: list[str] = []
    notes: list[str] = []
    not_held: dict[str, int] = {}
    no_place_for: dict[str, list[str]] = {}


class DatasetEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry keeps of one part of a dataset, under the key `ftbridge` of its entry.

    `files` maps a target to its file's name, relative to the dataset folder, `sources` maps a source's name to
    the sha256 of its content, `columns` maps a field (instruction, input, thought, output, system, history)
    to the column it was read from. `system` is the system prompt that all samples share, or, where they have
    `several_systems`, the one of those that brought none.
    """

    version: str
    files: dict[str, str]
    samples: int
    sources: dict[str, str]
    columns: dict[str, str]
    options: EntryOptions = EntryOptions()
    preset: str = ""
    system: str = ""
    several_systems: bool = False


class Launch(msgspec.Struct, frozen=True):
    """What will run, as a value: `env` holds only what we add, `files` what is written before it starts."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    files: dict[str, str]


class ReadingOptions(TypedDict, total=False):
    """How sources are to be read, by the names of the command's options; Reading says what each means."""

    sheet: str | Sequence[str]
    all_sheets: bool
    header_row: int | None
    fill_merged: bool
    as_shown: bool
    encoding: str
    delimiter: str
    quote: str


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
            names = joined(", ", (f"`{name}`" for name in DELIMITERS))
            raise UsageError(
                _("`--delimiter` takes one character, or {names}; got {delimiter!r}").format(
                    names=names, delimiter=self.delimiter
                )
            )
        if self.quote != "none" and (len(self.quote) > 1 or self.quote in {"\r", "\n", "\0", "\t", " "}):
            raise UsageError(
                _('`--quote` takes one character, such as `"`, or `none`; got {quote!r}').format(quote=self.quote)
            )
        if self.quote and self.quote == self.separator:
            raise UsageError(
                _(
                    "`--quote` and `--delimiter` are both `{quote}`; one goes around cells, the other between them"
                ).format(quote=self.quote)
            )

    @classmethod
    def from_options(
        cls,
        *,
        sheet: str | Sequence[str] = (),
        all_sheets: bool = False,
        header_row: int | None = None,
        fill_merged: bool = False,
        as_shown: bool = False,
        encoding: str = "",
        delimiter: str = "",
        quote: str = "",
    ) -> Self:
        """Return the reading that options ask for, called as the command's are; raises UsageError as Reading does."""
        return cls(
            sheets=(sheet,) if isinstance(sheet, str) else tuple(sheet),
            all_sheets=all_sheets,
            header_row=header_row,
            fill_merged=fill_merged,
            as_shown=as_shown,
            encoding=encoding,
            delimiter=delimiter,
            quote=quote,
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
            raise InputError(
                _("`{path}` is {kind} and has no sheets; leave `--sheet` out").format(path=path, kind=kind)
            )

    def refuse_delimiter(self, path: Path) -> None:
        """Raise InputError where cells are to be told apart in `path`, which is no delimited text."""
        if self.delimiter or self.quote:
            raise InputError(
                _("`{path}` is not delimited text; leave `--delimiter` and `--quote` out").format(path=path)
            )


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
