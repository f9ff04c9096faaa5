"""How a delimited text is written: what stands between cells, and around them; found by trying.

A dialect is right when all records have the same number of cells, or when their headers are recognised.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ftbridge.adapters.headers import fits
from ftbridge.core.files import LONGEST

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = ",\t;|"
NAMES = {"\t": "tab"}
# The headers are looked for in this many first records.
HEADERS_WITHIN = 20
# The share of records with the same number of cells that makes a table of a text without recognised headers.
ALIKE = 0.9


class Dialect(msgspec.Struct, frozen=True):
    r"""`delimiter` is "" for a single column, `quote` "" where quotes mean nothing, `escape` a backslash or "".

    `spaced` says that spaces after a delimiter mean nothing.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    spaced: bool = False

    def reader(self, lines: Iterable[str]) -> "Reader":
        """Return a reader of the records in `lines`, which raises csv.Error for quotes that do not pair."""
        csv.field_size_limit(2 * LONGEST)
        if self.escape:  # as MySQL writes, for which `\N` by itself is no value
            ends = re.escape(self.delimiter) + r"\r\n"
            cell = re.compile(rf"(?<![^{ends}])\\N(?![^{ends}])")
            lines = (cell.sub("", line) for line in lines)
        return csv.reader(
            lines,
            delimiter=self.delimiter or "\0",
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            skipinitialspace=self.spaced,
            strict=True,
        )

    def records(self, lines: Iterable[str]) -> Iterator[list[str] | None]:
        """Yield the cells of each record, None for one that cannot be read."""
        reader = self.reader(lines)
        while True:
            try:
                yield from reader
            except csv.Error:
                yield None
            else:
                return

    @property
    def note(self) -> str:
        """What the user should know; "" for the plainest dialect."""
        said = []
        if self.delimiter != ",":
            named = NAMES.get(self.delimiter, f"`{self.delimiter}`")
            said.append(f"delimiter {named}" if self.delimiter else "one column")
        if self.quote != '"':
            said.append(f"quotes {self.quote}" if self.quote else "no quotes")
        if self.escape:
            said.append(f"escapes {self.escape}")
        return ", ".join(said)


class _Trial(msgspec.Struct, frozen=True):
    """A dialect, and the records that it makes of a sample.

    `width` is the number of cells that most of them have, `bad` the number of records that have another, or
    could not be read, `alike` the share of the good ones.
    """

    dialect: Dialect
    records: list[list[str]]
    width: int
    bad: int
    alike: float

    @property
    def known(self) -> bool:
        """Whether headers are recognised."""
        return any(fits(record) for record in self.records[:HEADERS_WITHIN])

    @property
    def is_table(self) -> bool:
        """Whether this is more than text that happens to hold a delimiter."""
        first = self.records[0] if self.records else []
        return (self.width > 1 and (len(first) == self.width or self.alike >= ALIKE)) or self.known

    def share(self, pattern: str) -> float:
        """Return the share of cells, other than empty ones, that look like `pattern`."""
        cells = [cell for record in self.records for cell in record if cell]
        return sum(bool(re.fullmatch(pattern, cell, re.DOTALL)) for cell in cells) / max(1, len(cells))


def find_dialect(lines: list[str], *, first: str = ",", cut: bool = False) -> Dialect:
    """Return the dialect of `lines`, their ends included; `first` is the delimiter that is taken in a tie.

    `cut` says that more lines follow, so that the last record may be a part of one.
    """
    if told := re.fullmatch(r"sep=(.)\r?\n?", lines[0] if lines else ""):
        return _best_quoting(told[1], lines[1:], cut=cut).dialect
    order = first + DELIMITERS.replace(first, "")
    trials = [trial for delimiter in order if (trial := _best_quoting(delimiter, lines, cut=cut)).is_table]
    if not trials:
        return _best_quoting("", lines, cut=cut).dialect
    return max(trials, key=lambda trial: (trial.known, trial.alike, trial.width)).dialect


def is_delimited(lines: list[str]) -> bool:
    """Tell whether `lines`, of which the last may be cut, are plainly a table of two records or more."""
    trials = [_best_quoting(delimiter, lines, cut=True) for delimiter in DELIMITERS]
    return any(trial.width > 1 and len(trial.records) > 1 and trial.alike >= ALIKE for trial in trials)


def _best_quoting(delimiter: str, lines: list[str], *, cut: bool) -> _Trial:
    """Return the plain dialect, or another one with fewer bad records."""
    plain = _try(Dialect(delimiter), lines, cut=cut)
    single = _try(Dialect(delimiter, "'"), lines, cut=cut)
    if plain.share("'.*'") > 1 / 2 and single.bad <= plain.bad:
        return single
    spaced = _try(Dialect(delimiter, spaced=True), lines, cut=cut)
    # The cell `" ""x"""` is no sign of it: its space stays.
    if plain.share(' +".*"') > spaced.share(' +".*"') and spaced.bad <= plain.bad:
        return spaced
    others = [spaced]
    if plain.bad and any('\\"' in line for line in lines):
        others.append(_try(Dialect(delimiter, escape="\\"), lines, cut=cut))
    bare = _try(Dialect(delimiter, ""), lines, cut=cut)
    if not bare.bad and not bare.share('".*"'):
        others.append(bare)
    return min(plain, *others, key=lambda trial: trial.bad)


def _try(dialect: Dialect, lines: list[str], *, cut: bool) -> _Trial:
    read = list(dialect.records(lines))
    if cut and read and read[-1] is None:
        read.pop()
    records = [record for record in read if record and any(record)]
    width, good = Counter(map(len, records)).most_common(1)[0] if records else (0, 0)
    bad = len(records) - good + read.count(None)
    return _Trial(dialect, records, width, bad, good / max(1, good + bad))
