"""How a delimited text is written: what stands between cells, and around them; found by trying.

A dialect is right when all records have the same number of cells, or when their headers are recognised. Where no CSV
writer made a text, as with GLUE's TSV, quotes mean nothing: the reading without bad records tells.

(CleverCSV 0.8.5 in its place reads 6 of the 29 texts in test_csv_dialect.py wrongly, and takes three times as long.)
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ftbridge.adapters.mapping.headers import has_question_and_answer
from ftbridge.core.files.atomic import LONGEST
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = ",\t;|"
DELIMITER_NAMES = {"\t": _("tab"), " ": _("space")}
# Delimiters that stand in prose as well, there with a blank or the end of the line behind them.
PROSE_DELIMITERS = ",; "
# The headers are looked for in this many first records.
HEADERS_WITHIN = 20
# The share of records with the same number of cells that makes a table of a text without recognised headers.
TABLE_SHARE = 0.9
# Stands for MySQL's `\\N` by itself while a text is cut into cells; Unicode keeps these two out of all text.
NULL = "\ufdd0\ufdd1"
# A cell in quotes, and one with quotes in it that are doubled, as only a CSV writer does it.
QUOTED_CELL = re.compile('".*"', re.DOTALL)
DOUBLED_QUOTES = re.compile('"(?:[^"]*"")+[^"]*"')


class Dialect(msgspec.Struct, frozen=True):
    """A dialect of Python's csv module, with its delimiter, quotechar, escapechar and skipinitialspace.

    `delimiter` is "" for a single column, `quote` "" where quotes mean nothing, `escape` a backslash or "". `sure` says
    that the quotes, or that there are none, are no guess: the user says so, or other cells show it.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    skip_initial_space: bool = False
    sure: bool = False

    def reader(self, lines: Iterable[str]) -> "Reader":
        """Return a reader of the records in `lines`, which raises csv.Error for quotes that do not pair."""
        csv.field_size_limit(2 * LONGEST)
        return csv.reader(
            lines,
            delimiter=self.delimiter or "\0",
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            skipinitialspace=self.skip_initial_space,
            strict=True,
        )

    def records(self, lines: Iterable[str], *, cut: bool = False) -> Iterator[list[str] | None]:
        """Yield the cells of each record, None for one that cannot be read: a bad quote costs one line.

        `cut` says that more lines follow, so that the last record may be a part of one.
        """
        parsed = _SampleRecords(self, [self.with_nulls(line) for line in lines], cut=cut)
        return (cells and self.without_nulls(cells) for cells in parsed.records())

    def with_nulls(self, text: str) -> str:
        r"""Return `text` with a mark for each `\N` that may be a cell by itself, MySQL's sign of no value."""
        if "\\" not in text or r"\N" not in text:  # most texts have none, and one character is found sooner
            return text
        ends = re.escape(self.delimiter + " " * self.skip_initial_space) + r"\r\n"
        return re.sub(rf"(?<![^{ends}])\\N(?![^{ends}])", NULL, text)

    def without_nulls(self, cells: list[str]) -> list[str]:
        """Return the cells, empty where one is no more than the mark; within a longer one it was text."""
        text = "N" if self.escape else r"\N"
        return ["" if cell == NULL else cell.replace(NULL, text) for cell in cells]

    def split_unquoted(self, line: str) -> list[str]:
        """Return the cells of a line, its quotes taken as they stand."""
        return next(Dialect(self.delimiter, "").reader([line]), [])

    def has_stray_quote(self, lines: Sequence[str], width: int, labels: Collection[str] = ()) -> bool:
        """Tell whether a lone quote took in lines that are records of `width` cells each.

        Where a single delimiter decides, which may be prose, the first line must end with one of the `labels`.
        """
        delimiter = self.delimiter
        if self.sure or not self.quote or not delimiter or width < 2 or len(lines) < 2:  # noqa: PLR2004
            return False
        before, *quoted = "".join(lines).split(self.quote)
        if len(quoted) not in {1, 2}:
            return False
        if sum(line.count(delimiter) + 1 == width for line in lines) < TABLE_SHARE * len(lines):
            return False
        if delimiter not in PROSE_DELIMITERS:
            return True
        others = before + "".join(quoted[1:])
        ends = r"(?=\s|$)" if not re.search(f"{delimiter} ", others) else r"(?=[\r\n]|$)"
        inside = quoted[0].count(delimiter)
        if len(re.findall(delimiter + ends, quoted[0])) > (1 - TABLE_SHARE) * inside:
            return False
        return inside > 1 or self.split_unquoted(lines[0])[-1] in labels

    @property
    def note(self) -> str:
        """Return the dialect in words, for the user; "" for commas and double quotes."""
        said = []
        if self.delimiter != ",":
            named = DELIMITER_NAMES.get(self.delimiter, f"`{self.delimiter}`")
            said.append(
                _("delimiter {named}").format(named=named)
                if self.delimiter
                else _("one column (set `--delimiter` if there are more)")
            )
        if self.quote != '"':
            said.append(_("quotes {quote}").format(quote=self.quote) if self.quote else _("no quotes"))
        if self.escape:
            said.append(_("escapes {escape}").format(escape=self.escape))
        return joined(_(", "), said)


class _SampleRecords:
    """Reads the records of a sample; `stray_quotes` counts lone quotes that took in lines of `width` cells each.

    `cut` says that more lines follow, so that the last record may be a part of one.
    """

    def __init__(
        self, dialect: Dialect, lines: list[str], *, width: int = 0, labels: Collection[str] = (), cut: bool = False
    ) -> None:
        self._dialect, self._lines, self._width, self._labels, self._cut = dialect, lines, width, labels, cut
        self.stray_quotes = 0
        self.alone: list[str] = []  # the lines that are records by themselves

    def records(self) -> Iterator[list[str] | None]:
        """Yield the cells of each record, None for one that cannot be read."""
        start: int | None = 0
        while start is not None:
            start = yield from self._records_from(start)

    def _records_from(self, start: int) -> Generator[list[str] | None, None, int | None]:
        """Yield the records from a line on, None for the first that cannot be read.

        Returns the line to go on with behind that one, None at the end.
        """
        lines, done = self._lines, start
        reader = self._dialect.reader(map(lines.__getitem__, range(start, len(lines))))
        try:
            for cells in reader:
                end = start + reader.line_num
                if end - done > 1 and self._has_stray_quote(done, end):
                    yield from map(self._dialect.split_unquoted, lines[done:end])
                else:
                    if end - done == 1:
                        self.alone.append(lines[done])
                    yield cells
                done = end
        except csv.Error:
            at_end = start + reader.line_num == len(lines)
            if self._cut and at_end and not self._has_stray_quote(done, len(lines)):
                return None
            yield None
            return done + 1
        return None

    def _has_stray_quote(self, first: int, end: int) -> bool:
        found = self._width > 1 and self._dialect.has_stray_quote(self._lines[first:end], self._width, self._labels)
        self.stray_quotes += found
        return found


class _Trial(msgspec.Struct, frozen=True):
    """A dialect, and the records that it makes of a sample.

    `width` is the number of cells that most of them have, `bad` the number of records that have another, could not
    be read, or took others in; `alike` is the share of the good ones.
    """

    dialect: Dialect
    records: list[list[str]]
    width: int
    bad: int
    alike: float

    @property
    def has_known_headers(self) -> bool:
        """Tell whether one of the first records has recognised headers."""
        return any(has_question_and_answer(record) for record in self.records[:HEADERS_WITHIN])

    @property
    def is_table(self) -> bool:
        """Tell whether this is more than text that happens to hold a delimiter."""
        first = self.records[0] if self.records else []
        return (self.width > 1 and (len(first) == self.width or self.alike >= TABLE_SHARE)) or self.has_known_headers

    def share_of_cells(self, pattern: str) -> float:
        """Return the share of cells, other than empty ones, that look like `pattern`."""
        cells = [cell for record in self.records for cell in record if cell]
        return sum(bool(re.fullmatch(pattern, cell, re.DOTALL)) for cell in cells) / max(1, len(cells))


def find_dialect(
    lines: list[str], *, first: str = ",", cut: bool = False, delimiter: str = "", quote: str | None = None
) -> Dialect:
    """Return the dialect of `lines`, their ends included; `first` is the delimiter that is taken in a tie.

    `cut` says that more lines follow, so that the last record may be a part of one. `delimiter` and `quote` are what
    the user asks for; a quote of "" means none.
    """
    if told := re.fullmatch(r"sep=(.)\r?\n?", lines[0] if lines else ""):
        lines, delimiter = lines[1:], delimiter or told[1]
    if delimiter:
        return _best_quoting(delimiter, lines, quote, cut=cut).dialect
    order = [each for each in dict.fromkeys(first + DELIMITERS) if each != quote]
    trials = [trial for each in order if (trial := _best_quoting(each, lines, quote, cut=cut)).is_table]
    if not trials:
        return _best_quoting("", lines, quote, cut=cut).dialect
    return max(trials, key=lambda trial: (trial.has_known_headers, trial.alike, trial.width)).dialect


def is_delimited(lines: list[str]) -> bool:
    """Tell whether `lines`, of which the last may be cut, are plainly a table of two records or more."""
    trials = [_best_quoting(delimiter, lines, cut=True) for delimiter in DELIMITERS]
    return any(trial.width > 1 and len(trial.records) > 1 and trial.alike >= TABLE_SHARE for trial in trials)


def _best_quoting(delimiter: str, lines: list[str], quote: str | None = None, *, cut: bool) -> _Trial:
    """Return the plain dialect, or another one with fewer bad records; only those of the `quote` asked for."""
    asked = quote is not None
    if quote == "":
        return _try_dialect(Dialect(delimiter, "", sure=True), lines, cut=cut)
    plain = _try_dialect(Dialect(delimiter, quote or '"', sure=asked), lines, cut=cut)
    if not asked and plain.share_of_cells("'.*'") > 1 / 2:
        single = _try_dialect(Dialect(delimiter, "'"), lines, cut=cut)
        if single.bad <= plain.bad:
            return single
    spaced = _try_dialect(msgspec.structs.replace(plain.dialect, skip_initial_space=True), lines, cut=cut)
    # The cell `" ""x"""` is no sign of it: its space stays.
    marked = f" +{re.escape(plain.dialect.quote)}.*{re.escape(plain.dialect.quote)}"
    if plain.share_of_cells(marked) > spaced.share_of_cells(marked) and spaced.bad <= plain.bad:
        return spaced
    others = [spaced]
    if plain.bad and any(f"\\{plain.dialect.quote}" in line for line in lines):
        others.append(_try_dialect(msgspec.structs.replace(plain.dialect, escape="\\"), lines, cut=cut))
    if plain.bad and not asked:
        bare = _try_dialect(Dialect(delimiter, ""), lines, cut=cut)
        if not _quoted_for_real(plain, bare):
            others.append(bare)
    return min(plain, *others, key=lambda trial: trial.bad)


def _quoted_for_real(plain: _Trial, bare: _Trial) -> bool:
    """Tell whether quotes mean something although some do not pair: most cells of a column have them, or need them."""
    rows = [record for record in bare.records[1:] if len(record) == bare.width]
    if any(map(_mostly_quoted, zip(*rows, strict=True))):
        return True
    parts = plain.dialect.delimiter or "\n", "\n", "\r"
    needed = sum(
        len(each) == plain.width and any(part in cell for cell in each for part in parts) for each in plain.records
    )
    doubled = sum(any(map(DOUBLED_QUOTES.fullmatch, record)) for record in bare.records)
    return needed + doubled >= plain.bad


def _try_dialect(dialect: Dialect, lines: list[str], *, cut: bool) -> _Trial:
    """Return the records of a sample in a dialect; where some have several lines, read again with the width known."""
    parsed = _SampleRecords(dialect, lines, cut=cut)
    read = list(parsed.records())
    width, _unused = _usual_width(read)
    if len(read) < len(lines) and width > 1 and not dialect.sure:
        whole = [record for record in read if record and len(record) == width and "\n" not in "".join(record)]
        if _needs_quotes(dialect, whole, parsed.alone):
            dialect = msgspec.structs.replace(dialect, sure=True)
        else:
            labels = {record[-1] for record in whole}
            parsed = _SampleRecords(dialect, lines, width=width, labels=labels, cut=cut)
            read = list(parsed.records())
    width, good = _usual_width(read)
    records = [record for record in read if record and any(record)]
    bad = len(records) - good + read.count(None) + parsed.stray_quotes
    return _Trial(dialect, records, width, bad, good / max(1, good + bad))


def _needs_quotes(dialect: Dialect, records: list[list[str]], lines: list[str]) -> bool:
    """Tell whether cells within a line are in quotes that they need, or most of a column's are."""
    if any(dialect.delimiter in cell for record in records for cell in record):
        return True
    bare = [cells for line in lines if len(cells := dialect.split_unquoted(line)) == len(records[0])] if records else []
    return any(_mostly_quoted(column) for column in zip(*bare[1:], strict=True))


def _mostly_quoted(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell]
    return sum(bool(QUOTED_CELL.fullmatch(cell)) for cell in filled) * 2 > len(filled)


def _usual_width(read: list[list[str] | None]) -> tuple[int, int]:
    """Return the number of cells that most records have, and how many have it."""
    counted = Counter(len(record) for record in read if record and any(record))
    return counted.most_common(1)[0] if counted else (0, 0)
