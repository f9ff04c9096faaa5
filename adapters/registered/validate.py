"""What is in a dataset that ftbridge did not write, and whether the frameworks would load and keep all of it."""

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.problems import Problem, Tally
from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.column_types import ColumnTypes
from ftbridge.adapters.registered.entry_reader import UnfitError
from ftbridge.adapters.targets import messages
from ftbridge.adapters.values import DATE, BadValueError, shorten
from ftbridge.core.errors import InputError
from ftbridge.core.records import Conversation, Where
from ftbridge.dataset_info.entries import Entry, data_files
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.language import gettext as _


class Findings:
    """What reading the records of an entry has shown.

    `columns` says which columns neither framework can use, `unfit` are the records that neither can, `unfit_for_xtuner`
    those that LLaMA-Factory alone can. `empty` counts questions and answers that are empty, which both frameworks train
    on as they are. `unread` are columns that are called as if they were meant to be read.
    """

    def __init__(self, entry: Entry, *, whole: bool = False) -> None:
        self.unfit, self.unfit_for_xtuner = Tally(), Tally()
        self.records = self.empty = 0
        self.columns: list[str] = []
        self.unread: list[str] = []
        self._entry = entry
        self._read = entry_reader.read_whole_conversation if whole else entry_reader.read_conversation
        self._systems: set[str] = set()
        self._other_than_dates = {"question": False, "answer": False}
        self._types: ColumnTypes | None = None
        self._last = Where(entry.file_name, 1)

    @property
    def system(self) -> str:
        """Return the system prompt that all samples share, "" where they share none."""
        return next(iter(self._systems)) if len(self._systems) == 1 else ""

    @property
    def several_systems(self) -> bool:
        """Tell whether the samples differ in their system prompts."""
        return len(self._systems) > 1

    @property
    def dates(self) -> bool:
        """Tell whether all questions, or all answers, are dates."""
        return not all(self._other_than_dates.values())

    def read_file(self, file: Path, *, trusted: bool = False) -> None:
        """Take in the records of a file; of one that is `trusted` as many as tell whether all texts are dates."""
        if self._types:
            self._types.settled = True
        for row in entry_reader.read_rows(file):
            self.records += 1
            self._last = row.where
            self._types = self._types or ColumnTypes("csv" if file.suffix == ".csv" else row.where.unit)
            try:
                self._types.add({} if row.error else row.values)
                self._add_sample(self._read(self._entry, row))
            except (BadValueError, RecursionError, UnicodeEncodeError) as error:
                self._add_problem(row.where, error)
            if trusted and not self.dates:
                return

    def _add_sample(self, sample: Conversation) -> None:
        """Take in a sample; raises UnicodeEncodeError for text that cannot be written."""
        msgspec.json.encode(messages.sample(sample))
        if len(self._systems) < 2:  # noqa: PLR2004 - two are enough to differ
            self._systems.add(str(sample.system))
        for turn in sample.turns:
            for key, text in (("question", str(turn.user)), ("answer", str(turn.output))):
                self.empty += not text
                self._other_than_dates[key] = self._other_than_dates[key] or not DATE.fullmatch(text)

    def _add_problem(self, where: Where, error: Exception) -> None:
        if not isinstance(error, UnfitError):
            reasons = {
                RecursionError: _("is nested too deeply"),
                UnicodeEncodeError: _("holds half of a surrogate pair"),
            }
            error = UnfitError("", reasons.get(type(error)) or str(error))
        value = "" if error.value is None else shorten(error.value)
        problem = Problem(where, error.column, "", error.column, str(error), value)
        (self.unfit_for_xtuner if error.for_xtuner else self.unfit).add([problem])

    def check_columns(self) -> None:
        """Say which columns are of no use as a whole, when all files are read."""
        entry, known = self._entry, self._types.known if self._types else {}
        columns = dict.fromkeys(entry.read_columns)
        if missing := [column for column in columns if column not in known and known]:
            self.unfit = Tally()  # every record has said so, in other words
            self.columns += [
                _("the column `{column}` should be read, but no record has it").format(column=column)
                for column in missing
            ]
        for column in columns:
            for kind in _scalar_types(entry, known.get(column)) & {"dates", "numerals"}:
                loaded = (
                    _("dates, which are loaded as times") if kind == "dates" else _("numbers, which are loaded as such")
                )
                self.columns.append(
                    _("`{column}` holds nothing but {loaded}, not as text").format(column=column, loaded=loaded)
                )
        if entry.formatting == "alpaca":
            meant = {"instruction", "input", "output", "system", "history"}
            self.unread = sorted(meant & known.keys() - set(entry.columns.values()))


def validate(dataset_dir: Path, entry: Entry, *, trusted: bool = False, whole: bool = False) -> Findings:
    """Return what reading an entry's files has shown; raises InputError where one is missing or damaged.

    Of files that are `trusted`, as ftbridge wrote them, few records are read. With `whole`, tools are no fault.
    """
    findings = Findings(entry, whole=whole)
    for file in data_files(dataset_dir, entry):
        findings.read_file(file, trusted=trusted)
    findings.check_columns()
    return findings


def first_samples(dataset_dir: Path, entry: Entry, count: int) -> list[Conversation]:
    """Return the first conversations of a dataset; raises InputError where there are none, naming the record."""
    if entry.remote or (entry.problems and entry.formatting != CONVERSATIONS):
        return []
    rows = (row for file in data_files(dataset_dir, entry) for row in entry_reader.read_rows(file))
    samples = []
    for row in islice(rows, count):
        try:
            samples.append(entry_reader.read_conversation(entry, row, tools=True))
        except UnfitError as error:
            raise InputError(
                _("{where}: {column}{error}").format(
                    where=row.where, column=f"`{error.column}` " if error.column else "", error=error
                )
            ) from error
    return samples


def _scalar_types(entry: Entry, column_type: Any) -> set[str]:
    """Return the scalar types in a column, of messages those of their texts."""
    if isinstance(column_type, list):
        return _scalar_types(entry, column_type[0])
    if isinstance(column_type, dict):
        texts = {"input", "output", entry.tags.get("content_tag")}
        return {scalar for key in texts & column_type.keys() for scalar in _scalar_types(entry, column_type[key])}
    return {column_type} if isinstance(column_type, str) else set()
