"""What is recorded of the readers of ready tokens: whether all of them have the same."""

import msgspec

from ftbridge.core.console import counted
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate

CHAT_TEMPLATE, MERGED = to_translate("chat template"), to_translate("merged folder")  # readers that are no framework


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples were looked at, how many of them are the same for all `readers`, and the causes of the rest.

    `causes` counts conversations, by cause and reader. There are `total` samples, of which a few are looked at where
    they are many; 0 in a record of before that was kept.
    """

    samples: int
    same: int
    total: int = 0
    readers: tuple[str, ...]
    causes: dict[str, dict[str, int]] = {}

    def __str__(self) -> str:
        """Return it in words."""
        text = (
            _("compared {samples} of {total:,} samples: {same} are the same for {readers}")
            if self.total > self.samples
            else _("{same} of {samples} samples are the same for {readers}")
        )
        same = text.format(
            same=self.same, samples=self.samples, total=self.total, readers=joined(", ", map(_, self.readers))
        )
        return joined("; ", [same, *causes_in_words(self.causes)])


def causes_in_words(causes: dict[str, dict[str, int]]) -> list[str]:
    """Return each cause with who has it in how many conversations, as in `cut answer: XTuner in 3 conversations`."""
    return [
        _("{cause}: {counts}").format(cause=_(cause), counts=_counts_in_words(counts))
        for cause, counts in causes.items()
    ]


def _counts_in_words(counts: dict[str, int]) -> str:
    readers: dict[int, list[str]] = {}
    for reader, count in counts.items():
        readers.setdefault(count, []).append(reader)
    return joined(
        "; ",
        (
            _("{names} in {conversations}").format(
                names=joined(", ", map(_, names)), conversations=counted(count, "conversation")
            )
            for count, names in readers.items()
        ),
    )
