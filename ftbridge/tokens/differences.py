"""Where the tokens that a framework trains on differ from those that the chat template writes, and why."""

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import groupby
from typing import Literal

import msgspec

from ftbridge.language import gettext as _
from ftbridge.language import to_translate

# What a token of the reference belongs to: a text that the template writes, or what somebody says.
Part = Literal["tag", "system", "question", "thought", "answer", "stop"]

# What a cause means for the model, in words.
CAUSES = {
    to_translate("left out"): _("the sample is not trained on"),
    to_translate("other samples"): _(
        "earlier turns change when another follows, so that each answer has a prompt of its own"
    ),
    to_translate("doubled bos"): _("the chat template writes the begin token once"),
    to_translate("extra bos"): _("the chat template writes no begin token"),
    to_translate("missing bos"): _("the chat template writes a begin token"),
    to_translate("extra system prompt"): _("the chat template writes none, so the model is asked without it"),
    to_translate("missing system prompt"): _("the chat template writes it, so the model is asked with it"),
    to_translate("other system prompt"): _("the model is asked with that of the chat template"),
    to_translate("wrong role tag"): _(
        "the chat template marks the turns otherwise, so the model is asked with other marks"
    ),
    to_translate("stray newline"): _("the chat template writes none there"),
    to_translate("missing newline"): _("the chat template writes one there"),
    to_translate("other blanks"): _("the chat template writes others there"),
    to_translate("other tokens of the same text"): _("the text is cut into other tokens when it is written as a whole"),
    to_translate("cut prompt"): _("a part of what is asked is missing"),
    to_translate("other prompt"): _("the chat template asks something else"),
    to_translate("cut answer"): _("the model does not learn how the answer goes on, and ends"),
    to_translate("other answer"): _("the chat template writes another one"),
    to_translate("missing thought"): _("the chat template writes one before the answer"),
    to_translate("extra thought"): _("the chat template writes none there"),
    to_translate("thought in the labels"): _(
        "the model learns to write a thought where the chat template has it write none"
    ),
    to_translate("missing stop token"): _("the model does not learn to end its answers"),
    to_translate("other stop token"): _("generation ends at the one that the chat template writes"),
    to_translate("extra stop token"): _("the chat template writes none there"),
    to_translate("stop token not trained"): _("the model does not learn to end its answers"),
    to_translate("only the last turn trained"): _("the earlier answers are read and not learned"),
    to_translate("answer not trained"): _("it is read and not learned"),
    to_translate("part of an answer not trained"): _("it is read and not learned"),
    to_translate("answer in the labels"): _("an answer is learned that should not be"),
    to_translate("prompt in the labels"): _("the model learns to ask as well"),
    to_translate("text after the stop token in the labels"): _("harmless, as generation has ended before it"),
    to_translate("other labels"): _("another token is learned than the one in that place"),
    to_translate("other text"): _("the chat template writes something else"),
}
_THOUGHTS = ("<think>", "</think>", "<|channel|>analysis")
_CONTENT = {"system", "question", "thought", "answer"}
_SHORT_GAP = 3  # tokens that two stretches of other text may have in common by chance
_WORDS = 3  # of a text that is no mere tag
_MANY = 10**7  # pairs of tokens that are compared without shortcuts


class Reading(msgspec.Struct, frozen=True):
    """A sample as somebody reads it: token ids, labels (-100 where a token is not learned), and the tokens' texts."""

    ids: list[int]
    labels: list[int]
    tokens: list[str]


class Reference(Reading, frozen=True, kw_only=True):
    """A sample as the chat template writes it, with the part that each token belongs to.

    `bos` is the id of the begin token, if there is one; `stops` are those at which generation ends; `thoughts` are the
    texts of the thoughts that the conversation has.
    """

    parts: list[Part]
    bos: int | None = None
    stops: list[int] = []
    thoughts: list[str] = []


class Hunk(msgspec.Struct, frozen=True):
    """Tokens of the reference, from `start` to `end`, in whose place a reading has those from `start2` to `end2`."""

    start: int
    end: int
    start2: int
    end2: int


class Difference(msgspec.Struct, frozen=True):
    """A difference with its cause, one of CAUSES: `expected` is the reference's text there, `found` the reading's.

    Tokens are counted from 0, ends not included; `start` and `end` are those of the reference, `start2` and `end2`
    those of the reading.
    """

    cause: str
    expected: str
    found: str
    start: int
    end: int
    start2: int
    end2: int

    @property
    def place(self) -> str:
        """Return what stands where, in words; "" for what has no place."""
        if not (self.expected or self.found):
            return ""
        if not self.found or self.expected == self.found:
            return f"{_quoted(self.expected)} ({_numbers(self.start, self.end)})"
        instead = _(" in place of {expected}").format(expected=_quoted(self.expected)) if self.expected else ""
        return _("{found}{instead} (before token {start})").format(
            found=_quoted(self.found), instead=instead, start=self.start + 1
        )

    def __str__(self) -> str:
        """Return it as a sentence."""
        cause = _(self.cause)
        return _("{cause}: {place}").format(cause=cause, place=self.place) if self.place else cause


def compare(reading: Reading, reference: Reference) -> list[Difference]:
    """Return the differences of a reading from the reference, in their order; [] where ids and labels are equal."""
    if (reading.ids, reading.labels) == (reference.ids, reference.labels):
        return []
    if not reading.ids:
        return [Difference("left out", "", "", 0, len(reference.ids), 0, 0)]
    hunks = align(reference, reading)
    found = [_Changed(reference, reading, hunk).difference() for hunk in hunks]
    found += _label_differences(reference, reading, list(pairs(hunks, len(reference.ids))))
    return sorted(found, key=lambda each: (each.start, each.start2))


def align(reference: Reference, reading: Reading) -> list[Hunk]:
    """Return where the ids differ: between two hunks both have the same tokens.

    What is only added or only missing stands as early as it can, so that a turn begins with its tag.
    """
    ids, other = reference.ids, reading.ids
    start = _common(ids, other)
    end = _common(ids[start:][::-1], other[start:][::-1])
    one, two = ids[start : len(ids) - end], other[start : len(other) - end]
    matcher = SequenceMatcher(None, one, two, autojunk=len(one) * len(two) > _MANY)
    hunks: list[Hunk] = []
    blocks = [
        Hunk(start + begin, start + until, start + begin2, start + until2)
        for tag, begin, until, begin2, until2 in matcher.get_opcodes()
        if tag != "equal"
    ]
    for number, block in enumerate(blocks):
        most = blocks[number + 1].start if number + 1 < len(blocks) else len(ids)
        hunks.append(_moved(block, reference, reading, hunks[-1].end if hunks else 0, most))
    return _joined(hunks, reference.parts)


def pairs(hunks: Sequence[Hunk], length: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of tokens that a reference of this length and a reading have in common."""
    start = start2 = 0
    for hunk in [*hunks, Hunk(length, length, 0, 0)]:
        yield from ((at, at - start + start2) for at in range(start, hunk.start))
        start, start2 = hunk.end, hunk.end2


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    both = zip(one, other, strict=False)
    return next((at for at, (mine, theirs) in enumerate(both) if mine != theirs), min(len(one), len(other)))


def _moved(hunk: Hunk, reference: Reference, reading: Reading, least: int, most: int) -> Hunk:
    """Return a hunk of which one side is empty where most of its surroundings are learned by both or by none.

    Of several such places between `least` and `most` it is the first.
    """
    start, end, start2, end2 = hunk.start, hunk.end, hunk.start2, hunk.end2
    if start < end and start2 < end2:
        return hunk
    longer, first, last = (reference.ids, start, end) if start < end else (reading.ids, start2, end2)
    forward = 0
    while end + forward < most and longer[first + forward] == reference.ids[end + forward]:
        forward += 1
    back = 0
    while start - back > least and longer[last - back - 1] == reference.ids[start - back - 1]:
        back += 1

    def agree(at: int, at2: int) -> int:
        return int((reference.labels[at] >= 0) == (reading.labels[at2] >= 0))

    best, score, highest = forward, 0, 0
    for by in range(forward - 1, -back - 1, -1):
        # The token before the hunk takes the place of the hunk's last.
        score += agree(end + by, end2 + by) - agree(start + by, start2 + by)
        if score >= highest:
            best, highest = by, score
    return Hunk(start + best, end + best, start2 + best, end2 + best)


def _joined(hunks: list[Hunk], parts: list[Part]) -> list[Hunk]:
    """Return hunks with those joined that only a few tokens of one turn's text keep apart."""
    result: list[Hunk] = []
    for hunk in hunks:
        last = result[-1] if result else None
        if last and hunk.start - last.end <= _SHORT_GAP:
            within = {*parts[max(0, last.start - (last.start == last.end)) : hunk.end + (hunk.start == hunk.end)]}
            if len(within) == 1 and within <= _CONTENT:
                result[-1] = Hunk(last.start, hunk.end, last.start2, hunk.end2)
                continue
        result.append(hunk)
    return result


class _Changed:
    """Tokens in a reading that are not those of the reference."""

    def __init__(self, reference: Reference, reading: Reading, hunk: Hunk) -> None:
        self.reference, self.reading, self.hunk = reference, reading, hunk
        self.lost, self.got = reference.ids[hunk.start : hunk.end], reading.ids[hunk.start2 : hunk.end2]
        self.lost_text = "".join(reference.tokens[hunk.start : hunk.end])
        self.got_text = "".join(reading.tokens[hunk.start2 : hunk.end2])
        self.parts = {*reference.parts[hunk.start : hunk.end]}
        self.around = {*reference.parts[max(0, hunk.start - 1) : hunk.end + 1]}
        self.newlines = self.got_text.count("\n") - self.lost_text.count("\n")

    def difference(self) -> Difference:
        hunk = self.hunk
        cause = next((cause for cause, holds in _RULES if holds(self)), "other text")
        return Difference(cause, self.lost_text, self.got_text, hunk.start, hunk.end, hunk.start2, hunk.end2)

    @cached_property
    def only_blanks(self) -> bool:
        return "".join(self.lost_text.split()) == "".join(self.got_text.split())

    @cached_property
    def only_bos(self) -> int | None:
        """Return the begin token, if nothing else is too many at the front."""
        at_front = self.hunk.start <= 1 and not self.lost and len({*self.got}) == 1
        first = self.reference.ids[0] if self.reference.ids else None
        return self.got[0] if at_front and self.got[0] in {self.reference.bos, first} else None

    @cached_property
    def to_the_end(self) -> bool:
        return self.hunk.end == len(self.reference.ids) and self.hunk.end2 == len(self.reading.ids)

    @cached_property
    def cuts(self) -> bool:
        """Tell whether nothing stands in the place of what is missing, or only the end token."""
        return not self.got or (self.to_the_end and {*self.got} <= {*self.reference.stops})

    @cached_property
    def trained(self) -> bool:
        return any(label >= 0 for label in self.reading.labels[self.hunk.start2 : self.hunk.end2])

    @cached_property
    def has_thought(self) -> bool:
        marks = [*_THOUGHTS, *filter(str.strip, self.reference.thoughts)]
        return "thought" in self.parts or any(mark in self.got_text for mark in marks)

    @cached_property
    def before_questions(self) -> bool:
        parts = self.reference.parts
        return self.hunk.end <= (parts.index("question") if "question" in parts else len(parts))

    @cached_property
    def is_text(self) -> bool:
        """Tell whether what is too many is a turn of its own, or too long for a tag."""
        first = {0} if self.reference.ids[:1] != [self.reference.bos] else {0, 1}
        whole_turn = not self.lost and self.hunk.start in first and len(self.got) > 1
        return whole_turn or len(self.got_text.split()) - len(self.lost_text.split()) >= _WORDS


# What is asked of tokens that differ, one after the other: the first that holds is the cause.
_RULES: list[tuple[str, Callable[[_Changed], bool]]] = [
    ("doubled bos", lambda it: it.only_bos is not None and it.reference.ids[:1] == [it.only_bos]),
    ("extra bos", lambda it: it.only_bos is not None),
    ("missing bos", lambda it: it.hunk.start == 0 and it.lost == [it.reference.bos] and not it.got),
    ("other tokens of the same text", lambda it: bool(it.got and it.lost) and it.lost_text == it.got_text),
    ("stray newline", lambda it: it.only_blanks and it.newlines > 0),
    ("missing newline", lambda it: it.only_blanks and it.newlines < 0),
    ("other blanks", lambda it: it.only_blanks),
    ("cut answer", lambda it: "answer" in it.parts and it.cuts),
    ("other answer", lambda it: "answer" in it.parts and not it.has_thought),
    ("thought in the labels", lambda it: it.has_thought and it.trained),
    ("extra thought", lambda it: it.has_thought and bool(it.got)),
    ("missing thought", lambda it: it.has_thought),
    ("other stop token", lambda it: "stop" in it.parts and bool({*it.got} & {*it.reference.stops})),
    ("missing stop token", lambda it: "stop" in it.parts),
    ("missing system prompt", lambda it: "system" in it.parts and not it.got),
    ("other system prompt", lambda it: "system" in it.parts),
    ("cut prompt", lambda it: "question" in it.parts and not it.got),
    ("other prompt", lambda it: "question" in it.parts),
    ("extra stop token", lambda it: not it.lost and {*it.got} <= {*it.reference.stops}),
    ("other answer", lambda it: it.around == {"answer"} or (it.around == {"answer", "stop"} and not it.lost)),
    ("other prompt", lambda it: it.around == {"question"}),
    ("other system prompt", lambda it: it.around == {"system"}),
    ("extra system prompt", lambda it: it.before_questions and it.is_text),
    ("wrong role tag", lambda it: it.around <= {"tag", "stop"} or "tag" in it.parts or it.before_questions),
    ("wrong role tag", lambda it: "tag" in it.around),
]


def _label_differences(
    reference: Reference, reading: Reading, same: Sequence[tuple[int, int]]
) -> Iterator[Difference] | list[Difference]:
    """Return what is learned otherwise of the tokens that are the same."""
    place = dict(same)
    missing = [at for at, at2 in same if reference.labels[at] >= 0 > reading.labels[at2]]
    extra = [at for at, at2 in same if reading.labels[at2] >= 0 > reference.labels[at]]
    other = [at for at, at2 in same if min(reading.labels[at2], reference.labels[at]) >= 0]
    other = [at for at in other if reading.labels[place[at]] != reference.labels[at]]
    by_cause: dict[str, list[int]] = {}
    for cause, positions in (
        *_missing_labels(reference, {*missing}, place),
        *_extra_labels(reference, extra),
        ("other labels", other),
    ):
        by_cause.setdefault(cause, []).extend(positions)
    found = []
    for cause, positions in by_cause.items():
        for first, last in _runs(sorted(positions)):
            text = "".join(reference.tokens[first:last])
            found.append(Difference(cause, text, text, first, last, place[first], place[last - 1] + 1))
    return found


def _missing_labels(reference: Reference, missing: set[int], place: dict[int, int]) -> Iterator[tuple[str, list[int]]]:
    """Yield what is not learned and should be, by cause."""
    trained = _runs([at for at, label in enumerate(reference.labels) if label >= 0])
    turns = [turn for turn in (range(*run) for run in trained) if not place.keys().isdisjoint(turn)]
    silent = [turn for turn in turns if _is_silent(reference, turn, missing, place)]
    only_last = len(turns) > 1 and silent == turns[:-1]
    for turn in silent:
        yield "only the last turn trained" if only_last else "answer not trained", sorted(missing.intersection(turn))
    others = missing.difference(*silent)
    stops = {at for at in others if reference.parts[at] == "stop"}
    yield "stop token not trained", sorted(stops)
    yield "part of an answer not trained", sorted(others - stops)


def _is_silent(reference: Reference, turn: range, missing: set[int], place: dict[int, int]) -> bool:
    """Tell whether nothing of an answer is learned, whatever becomes of its stop token."""
    said = [at for at in turn if at in place and reference.parts[at] != "stop"]
    return bool(said) and missing.issuperset(said)


def _extra_labels(reference: Reference, extra: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield what is learned and should not be, by cause."""
    behind: list[int] = []
    prompt: list[int] = []
    for first, last in _runs(extra):
        for part, group in groupby(range(first, last), lambda at: reference.parts[at]):
            positions = list(group)
            blank = not "".join(reference.tokens[at] for at in positions).strip()
            before = reference.parts[positions[0] - 1] if positions[0] else None
            if part == "thought" or (before == "thought" and blank and positions[0] > first):
                yield "thought in the labels", positions
            elif part in {"answer", "stop"}:
                yield "answer in the labels", positions
            else:
                (behind if blank and before == "stop" else prompt).extend(positions)
    if prompt:
        yield "prompt in the labels", [*prompt, *behind]
    else:
        yield "text after the stop token in the labels", behind


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Return where stretches of consecutive numbers begin and end."""
    runs: list[tuple[int, int]] = []
    for at in positions:
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


def _quoted(text: str) -> str:
    """Return a text short enough for a sentence, in the marks of code."""
    shown = text.encode("unicode_escape").decode() if not text.strip() else " ".join(text.split())
    return f"`{shown if len(shown) <= 60 else shown[:40] + ' ... ' + shown[-15:]}`"  # noqa: PLR2004


def _numbers(start: int, end: int) -> str:
    return (
        _("token {start}").format(start=start + 1)
        if end - start == 1
        else _("tokens {start} to {end}").format(start=start + 1, end=end)
    )
