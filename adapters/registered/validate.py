"""What is in a dataset that ftbridge did not write, and whether the frameworks would load and keep all of it."""

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.problems import Problem, Tally
from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.column_types import ColumnTypes
from ftbridge.adapters.registered.entry_reader import UnfitError
from ftbridge.adapters.targets import xtuner
from ftbridge.adapters.values import DATE, BadValueError, shorten
from ftbridge.core.errors import InputError
from ftbridge.core.records import Conversation, Where
from ftbridge.dataset_info.entries import Entry, data_files
from ftbridge.dataset_info.names import CONVERSATIONS


class Findings:
    """What reading the records of an entry has shown.

    `columns` and `wrong` hold what neither framework can use, `special` what LLaMA-Factory alone can. `empty` counts
    questions and answers that are empty, which both frameworks train on as they are. `dates` says that all
    questions, or all answers, are dates. `unread` are columns that are called as if they were meant to be read.
    """

    def __init__(self, entry: Entry) -> None:
        self.wrong, self.special = Tally(), Tally()
        self.records = self.empty = 0
        self.columns: list[str] = []
        self.unread: list[str] = []
        self._entry = entry
        self._systems: set[str] = set()
        self._plain = {"question": False, "answer": False}
        self._kinds: ColumnTypes | None = None
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
        return not all(self._plain.values())

    def read(self, file: Path, *, trusted: bool = False) -> None:
        """Take in the records of a file; of one that is `trusted` as many as tell whether all texts are dates."""
        if self._kinds:
            self._kinds.settled = True
        for row in entry_reader.rows(file):
            self.records += 1
            self._last = row.where
            self._kinds = self._kinds or ColumnTypes("csv" if file.suffix == ".csv" else row.where.unit)
            try:
                self._kinds.add({} if row.error else row.values)
                self._take(entry_reader.conversation(self._entry, row))
            except (BadValueError, RecursionError, UnicodeEncodeError) as error:
                self._note(row.where, error)
            if trusted and not self.dates:
                return

    def _take(self, sample: Conversation) -> None:
        msgspec.json.encode(xtuner.sample(sample))  # finds text that cannot be written
        if len(self._systems) < 2:  # noqa: PLR2004 - two are enough to differ
            self._systems.add(str(sample.system))
        for turn in sample.turns:
            for key, text in (("question", str(turn.user)), ("answer", str(turn.output))):
                self.empty += not text
                self._plain[key] = self._plain[key] or not DATE.fullmatch(text)

    def _note(self, where: Where, error: Exception) -> None:
        if not isinstance(error, UnfitError):
            reasons = {RecursionError: "is nested too deeply", UnicodeEncodeError: "holds half of a surrogate pair"}
            error = UnfitError("", reasons.get(type(error)) or str(error))
        value = "" if error.value is None else shorten(error.value)
        problem = Problem(where, error.column, "", error.column, str(error), value)
        (self.special if error.special else self.wrong).add([problem])

    def judge(self) -> None:
        """Judge the columns as a whole, when all files are read."""
        entry, known = self._entry, self._kinds.known if self._kinds else {}
        columns = dict.fromkeys(entry.read_columns)
        if missing := [column for column in columns if column not in known and known]:
            self.wrong = Tally()  # every record has said so, in other words
            self.columns += [f"the column `{column}` is to be read, and no record has it" for column in missing]
        for column in columns:
            for kind in _leaves(entry, known.get(column)) & {"dates", "numerals"}:
                loaded = "dates, which are loaded as times" if kind == "dates" else "numbers, which are loaded as such"
                self.columns.append(f"`{column}` holds nothing but {loaded}, not as text")
        if entry.formatting == "alpaca":
            meant = {"instruction", "input", "output", "system", "history"}
            self.unread = sorted(meant & known.keys() - set(entry.columns.values()))


def validate(dataset_dir: Path, entry: Entry, *, trusted: bool = False) -> Findings:
    """Return what is in an entry's files; raises InputError where one is missing or damaged."""
    findings = Findings(entry)
    for file in data_files(dataset_dir, entry):
        findings.read(file, trusted=trusted)
    findings.judge()
    return findings


def first_samples(dataset_dir: Path, entry: Entry, count: int) -> list[Conversation]:
    """Return the first conversations of a dataset; raises InputError where there are none, naming the record."""
    if entry.remote or (entry.problems and entry.formatting != CONVERSATIONS):
        return []
    rows = (row for file in data_files(dataset_dir, entry) for row in entry_reader.rows(file))
    found = []
    for row in islice(rows, count):
        try:
            found.append(entry_reader.conversation(entry, row, tools=True))
        except UnfitError as error:
            raise InputError(f"{row.where}: {f'`{error.column}` ' if error.column else ''}{error}") from error
    return found


def _leaves(entry: Entry, kind: Any) -> set[str]:
    """Return the scalar types in a column, of messages those of their texts."""
    if isinstance(kind, list):
        return _leaves(entry, kind[0])
    if isinstance(kind, dict):
        texts = {"input", "output", entry.tags.get("content_tag")}
        return {leaf for key in texts & kind.keys() for leaf in _leaves(entry, kind[key])}
    return {kind} if isinstance(kind, str) else set()
