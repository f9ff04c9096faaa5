"""What is worth saying of samples that are good: looked for while they are made, and said once for a dataset.

Thoughts in answers, placeholders of images, rows with two system prompts; and which system prompts there are. Most
samples have nothing of it, and one search for `<` in the bytes of many tells so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ftbridge.adapters.targets.text_only import describe_not_held
from ftbridge.adapters.values import decode_raw, is_blank
from ftbridge.core.console import counted
from ftbridge.core.records import Conversation, Row, Text, Where, as_json
from ftbridge.language import gettext as _

# An answer may begin inside its thoughts, where a chat template opens them.
MARKS = re.compile(rb"</?think>|<\|?(img|image|video|audio)(?:_pad|[_ ]?[0-9]{1,3})?\|?>")
THOUGHT, TWO_SYSTEMS, NOT_HELD = "thought", _("two systems"), _("not held by")
# So many samples are looked at together: few enough to be in the processor's cache still.
TOGETHER = 64
KIND_OF_MARK = {b"": THOUGHT, b"img": "image", b"image": "image", b"video": "video", b"audio": "audio"}


class Remark(msgspec.Struct, frozen=True):
    """How many samples, or answers, it is true of, where the first stands, and the mark that was found there."""

    count: int
    where: Where
    mark: str = ""


class Remarks(msgspec.Struct):
    """What was seen of samples: remarks by kind, and their system prompts, of which two are enough to differ."""

    found: dict[str, Remark] = {}
    systems: set[str] = set()

    def add_samples(self, samples: Sequence[Conversation], written: bytearray, start: int) -> None:
        """Take in what is worth saying of samples, which stand as bytes in `written` from `start` on."""
        if len(self.systems) < 2:  # noqa: PLR2004 - two are enough to differ
            last: Text | None = None
            for sample in samples:
                system = sample.system
                if system is not last and system != last:
                    last = system
                    self.systems.add(decode_raw(last))
        if written.find(b"<", start) >= 0 and MARKS.search(written, start):
            for sample in samples:
                self.add_marks(sample)

    def compare_systems(self, row: Row, column: str | None, sample: Conversation) -> None:
        """Note a row whose `column` has another system prompt than its conversation, whose own wins."""
        value = decode_raw(row.values.get(column)) if column else None
        if not is_blank(value) and str(value).strip() != decode_raw(sample.system).strip():
            self.add_remark(TWO_SYSTEMS, Remark(1, row.where))

    def add_not_held(self, sample: Conversation, target: str, *, written: bool) -> None:
        """Note a sample that a target cannot hold; unless it is `written` first, its marks have to be looked for."""
        what = _("tools") if sample.uses_tools else _("answers that are not learned")
        self.add_remark(f"{NOT_HELD} {target}: {what}", Remark(1, sample.source, what))
        if not written:
            self.add_marks(sample)

    def add_marks(self, sample: Conversation) -> None:
        """Note the marks in a sample."""
        for kind, (count, mark) in marks_in(sample).items():
            self.add_remark(kind, Remark(count, sample.source, mark))

    def add_remark(self, kind: str, more: Remark) -> None:
        """Count in a remark on samples further on."""
        first = self.found.get(kind)
        self.found[kind] = Remark(first.count + more.count, first.where, first.mark) if first else more

    def add_all(self, others: "Remarks") -> None:
        """Count in the remarks on samples further on."""
        if len(self.systems) < 2:  # noqa: PLR2004 - two are enough to differ
            self.systems |= others.systems
        for kind, remark in others.found.items():
            self.add_remark(kind, remark)


def marks_in(sample: Conversation) -> dict[str, tuple[int, str]]:
    """Return how many answers of a sample hold thoughts, and 1 for each other kind of mark in it; with the first."""
    found: dict[str, tuple[int, str]] = {}
    for turn in sample.turns:
        mark = "<think>" if turn.thought else _kinds_of_marks([turn.output]).get(THOUGHT)
        if mark:
            count, mark = found.get(THOUGHT, (0, mark))
            found[THOUGHT] = count + 1, mark
    texts = [sample.system, *(text for turn in sample.turns for text in (turn.instruction, turn.input, turn.output))]
    return found | {kind: (1, mark) for kind, mark in _kinds_of_marks(texts).items() if kind != THOUGHT}


def _kinds_of_marks(texts: Iterable[Text]) -> dict[str, str]:
    """Return the kinds of marks in texts, with the first mark of each."""
    found: dict[str, str] = {}
    for text in texts:
        for match in MARKS.finditer(as_json(text)):
            found.setdefault(KIND_OF_MARK[match[1] or b""], match[0].decode())
    return found


def system_beside(columns: Mapping[str, str]) -> str | None:
    """Return the column of the system prompt where whole conversations may bring another."""
    return columns.get("system") if "messages" in columns else None


def describe_remarks(remarks: Mapping[str, Remark], column: str = "") -> list[str]:
    """Return the remarks as sentences; `column` is that of the system prompts that were not taken."""
    lines = []
    for kind, remark in remarks.items():
        first = _("(the first: {where})").format(where=remark.where)
        if kind == THOUGHT:
            lines.append(
                _(
                    "{answers} `{mark}` {first}; with `--tokens native` the frameworks do not train "
                    "on the same tokens there: XTuner keeps thoughts, LLaMA-Factory may drop them, and a "
                    "reasoning model's template puts an empty block before them; `ftbridge preview` shows "
                    "it"
                ).format(answers=counted(remark.count, "answer holds", "answers hold"), mark=remark.mark, first=first)
            )
        elif kind == TWO_SYSTEMS:
            lines.append(
                _(
                    "in {rows} the column `{column}` differs from the conversation's own system prompt "
                    "{first}, which was used"
                ).format(rows=counted(remark.count, "row"), column=column, first=first)
            )
        elif kind.startswith(NOT_HELD):
            said = describe_not_held(remark.count, _target_of(kind, remark), remark.mark)
            lines.append(_("{said} {first}").format(said=said, first=first))
        else:
            lines.append(
                _("{samples} `{mark}` {first}, which is trained on as text: no {kind} goes with it").format(
                    samples=counted(remark.count, "sample holds", "samples hold"),
                    mark=remark.mark,
                    first=first,
                    kind=kind,
                )
            )
    return lines


def no_place_for(remarks: Mapping[str, Remark]) -> dict[str, list[str]]:
    """Return what there is in samples that a target cannot hold, by target."""
    found: dict[str, list[str]] = {}
    for kind, remark in remarks.items():
        if kind.startswith(NOT_HELD):
            found.setdefault(_target_of(kind, remark), []).append(remark.mark)
    return found


def _target_of(kind: str, remark: Remark) -> str:
    """Return the target that cannot hold a sample, by the kind of the remark on it."""
    return kind.removeprefix(f"{NOT_HELD} ").removesuffix(f": {remark.mark}")
