"""The answers that a report shows: read in one pass, and chosen where there are too many of them."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import LONGEST, opened_record
from ftbridge.dialogue.chat import without_thought
from ftbridge.evaluation.answers.folder import SETTINGS, Prediction, settings_in
from ftbridge.evaluation.record import Scores
from ftbridge.evaluation.scoring.extraction import read_entities
from ftbridge.evaluation.scoring.labels import Parser
from ftbridge.language import gettext as _

MOST = 2000  # answers in a report
MOST_DIFFERENT = 50_000  # questions of which is counted how many differ: a hash of each is kept
HEAD, TAIL = 6000, 600  # characters that are kept of a text; a page shows at most as many
MOST_PAIRS = 3000  # of equal words in two answers; what has more takes too long to compare
EXAMPLE = 240  # characters of a question that is shown as an example, where there is one as short
LEAST_ALIKE = 0.3  # below that all is another text, and nothing is marked
# What a chat template puts around what is said: special tokens, each with the role that follows it.
_TEMPLATE = re.compile(
    r"(?:<[|\uff5c][^|\uff5c<>]{1,40}[|\uff5c]>|</?s>|<bos>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>)"
    r"(?:(?:system|user|assistant|model)\b)?",
    re.IGNORECASE,
)
# A word with the blanks behind it, a Chinese or Japanese character, or anything else.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\s+|.", re.DOTALL
)


class Answer(NamedTuple):
    """An answer, without the thought before it, and whether it is right."""

    text: str
    right: bool


class Asked(NamedTuple):
    """A question with its reference, and the answer of each model, None where it was not asked."""

    id: int
    question: str
    reference: str
    answers: tuple[Answer | None, ...]

    @property
    def changed(self) -> bool:
        """Tell whether not all who answered are right, and not all are wrong."""
        return len({answer.right for answer in self.answers if answer}) > 1


class Answers(NamedTuple):
    """The answers that are shown of `total` questions, by `titles` of who answered; `changed` counts all such.

    `begin` and `end` stand before and after each question, and are not repeated in it. `different` counts questions
    that are asked once or more often, None where there are too many to tell.
    """

    titles: tuple[str, ...]
    asked: tuple[Asked, ...]
    total: int
    changed: int
    begin: str = ""
    end: str = ""
    different: int | None = None

    @property
    def instruction(self) -> str:
        """Return what every question begins with, without what a chat template puts around it."""
        return without_template(self.begin)

    @property
    def example(self) -> Asked | None:
        """Return the first question that is short, else the shortest; None where none has a right answer."""
        asked = [row for row in self.asked if row.reference.strip()]
        short = (row for row in asked if len(row.question) <= EXAMPLE)
        return next(short, None) or min(asked, key=lambda row: len(row.question), default=None)

    @property
    def texts(self) -> Iterator[str]:
        """Yield all texts that are shown."""
        for row in self.asked:
            yield from (row.question, row.reference, *(answer.text for answer in row.answers if answer))

    @property
    def longest(self) -> int:
        """Return the number of characters of the longest text."""
        return max(map(len, self.texts), default=0)


def read_answers(
    files: dict[str, Path], judge: Callable[[str, str], bool], limit: int | None = None, most: int = MOST
) -> Answers:
    """Return the answers in `files`, by title; those of the first decide which questions there are.

    Of more than `most` questions a sample is returned: those whose answers changed from wrong to right or back, then
    others by lot, with a seed. Raises InputError where a file holds no answers. Memory does not grow with the file.
    """
    chance = random.Random(0)  # noqa: S311 - a sample, not a secret
    changed, others = _Reservoir(most, chance), _Reservoir(most, chance)
    different: set[int] | None = set()
    for row in _together([_rows(file, limit) for file in files.values()], judge):
        (changed if row.changed else others).add(row)
        different = _with_question(different, row.question)
    chosen = [*changed.kept, *others.some(most - len(changed.kept))]
    begin, end = _shared_ends([row.question for row in chosen])
    asked = tuple(
        row._replace(question=row.question[len(begin) : len(row.question) - len(end)])
        for row in sorted(chosen, key=lambda row: row.id)
    )
    total = changed.seen + others.seen
    return Answers(tuple(files), asked, total, changed.seen, begin, end, None if different is None else len(different))


def _with_question(different: set[int] | None, question: str) -> set[int] | None:
    """Return the hashes of questions with one more, None where they are too many."""
    if different is None:
        return None
    different.add(hash(question))
    return different if len(different) <= MOST_DIFFERENT else None


def judge_of(scores: Scores) -> Callable[[str, str], bool]:
    """Return what tells of an answer and its reference whether it is right."""
    if scores.task == "extraction":
        return lambda answer, reference: read_entities(answer) == read_entities(reference)
    if not scores.confusion:
        return lambda answer, reference: answer.strip() == reference.strip()
    parser = Parser(scores.confusion.labels)
    return lambda answer, reference: parser.read(answer)[0] == reference.strip()


def without_template(text: str) -> str:
    """Return what is said in a prompt, in one line, without what a chat template puts around it."""
    return " ".join(_TEMPLATE.sub(" ", text).split())


class Stretch(NamedTuple):
    """A part of an answer, and whether it is not in the other one."""

    text: str
    changed: bool


def marked(before: str, after: str) -> tuple[list[Stretch], list[Stretch]]:
    """Return two answers in stretches, with what only one of them has marked; nothing where little is alike."""
    words: list[list[str]] = [_WORD.findall(text) for text in (before, after)]
    plain = [Stretch(before, False)], [Stretch(after, False)]
    counts, others = map(Counter, words)
    if before == after or not 0 < sum(number * others[word] for word, number in counts.items()) <= MOST_PAIRS:
        return plain
    matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
    if matcher.quick_ratio() < LEAST_ALIKE or matcher.ratio() < LEAST_ALIKE:
        return plain
    found: tuple[list[Stretch], list[Stretch]] = ([], [])
    for kind, *ends in matcher.get_opcodes():
        for side, begin, end in ((0, *ends[:2]), (1, *ends[2:])):
            if begin < end:
                found[side].append(Stretch("".join(words[side][begin:end]), kind != "equal"))
    return found


class _Reservoir:
    """Keeps so many rows of all that are added, each with the same chance."""

    def __init__(self, most: int, chance: random.Random) -> None:
        self.kept: list[Asked] = []
        self.seen, self._most, self._chance = 0, most, chance

    def add(self, row: Asked) -> None:
        self.seen += 1
        if len(self.kept) < self._most:
            self.kept.append(row)
        elif (place := self._chance.randrange(self.seen)) < self._most:
            self.kept[place] = row

    def some(self, number: int) -> list[Asked]:
        return self._chance.sample(self.kept, number) if number < len(self.kept) else self.kept


def _rows(file: Path, limit: int | None) -> Iterator[Prediction]:
    """Yield the answers in a file without thoughts, those of the first `limit` questions."""
    settings = settings_in(file.parent) if (file.parent / SETTINGS).is_file() else None
    answer_of = without_thought if settings and settings.has_thoughts else str
    decode = msgspec.json.Decoder(Prediction).decode
    try:
        with opened_record(file) as opened:
            while line := opened.readline(LONGEST):
                row = decode(line)
                if limit is None or row.id <= limit:
                    yield msgspec.structs.replace(row, answer=answer_of(row.answer), reference=answer_of(row.reference))
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InputError(
            _("`{file}` does not hold answers, as `ftbridge predict` writes them: {error}").format(
                file=file, error=error
            )
        ) from error


def _together(streams: Sequence[Iterator[Prediction]], judge: Callable[[str, str], bool]) -> Iterator[Asked]:
    """Yield each question of the first stream with the answers of all, which are in the order of the questions."""
    first, *others = streams
    followers = [_Follower(each) for each in others]
    for row in first:
        found = [row, *(each.answer_to(row.id) for each in followers)]
        answers = tuple(
            Answer(_kept(each.answer), judge(each.answer, row.reference)) if each else None for each in found
        )
        yield Asked(row.id, _kept(row.prompt), _kept(row.reference), answers)


class _Follower:
    """Finds the answers to questions whose numbers grow."""

    def __init__(self, rows: Iterator[Prediction]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def answer_to(self, question: int) -> Prediction | None:
        while self._next and self._next.id < question:
            self._next = next(self._rows, None)
        return self._next if self._next and self._next.id == question else None


def _kept(text: str) -> str:
    """Return what is kept of a text: both ends of a long one."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} … {text[-TAIL:]}"


def _shared_ends(texts: Sequence[str]) -> tuple[str, str]:
    """Return with what all texts begin, and end: what a chat template and a fixed instruction put around questions.

    Cut at a line or a special token, so that no word of a question is taken away.
    """
    if len(texts) < 2:  # noqa: PLR2004
        return "", ""
    least, greatest = min(texts), max(texts)
    begin = least[: _alike(least, greatest)]
    begin = begin[: max(begin.rfind("\n"), begin.rfind(">")) + 1]
    turned = [text[len(begin) :][::-1] for text in texts]
    end = min(turned)[: _alike(min(turned), max(turned))][::-1]
    places = [at for at in (end.find("\n"), end.find("<")) if at >= 0]
    return begin, end[min(places) :] if places else ""


def _alike(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    pairs = zip_longest(first, second)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), len(first))
