"""Train, validation and test, told by the names of files, folders and sheets as `datasets` tells them."""

import re
from collections.abc import Callable
from typing import TypeVar

from ftbridge.core.errors import InputError
from ftbridge.language import gettext as _
from ftbridge.language import joined

# `datasets` looks for these between characters that are none of a word.
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# The part of a dataset that a split becomes.
PART_OF = {
    **dict.fromkeys(("train", "training", "训练", "训练集"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("验证", "验证集", "开发集"), "validation"),
    **dict.fromkeys(("test", "testing", "测试", "测试集"), "test"),
}
T = TypeVar("T")


def parts_of_splits(splits: dict[str, T], where: Callable[[str], str]) -> list[tuple[str, T]]:
    """Return the splits with the parts that they become, train first; `where` tells how to name one of them.

    Raises InputError for a split, among several, that is none of train, validation and test.
    """
    if len(splits) == 1:
        return [(PART_OF.get(split, ""), those) for split, those in splits.items()]
    if strange := [split for split in splits if split not in PART_OF]:
        choices = joined(", ", (f"`{where(split)}`" for split in splits))
        raise InputError(
            _("{strange} is not train, validation or test; give one split: {choices}").format(
                strange=joined(_(" and "), (f"`{split}`" for split in strange)), choices=choices
            )
        )
    found = [(PART_OF[split], those) for split, those in splits.items()]
    return sorted(found, key=lambda pair: [*KEYWORDS].index(pair[0]))


def split_in_name(name: str) -> str:
    """Return the split that the name of a file or folder tells as `datasets` reads it, "" for none."""
    words = re.split(r"[-._ 0-9/]+", name.lower())
    return next((split for word in words for split, known in KEYWORDS.items() if word in known), "")
