"""Splits as parts of a dataset."""

import pytest

from ftbridge.adapters.sources import split_names
from ftbridge.core.errors import InputError


def test_split_names_become_parts_or_are_asked_for():
    told = split_names.parts_of_splits({"testing": 3, "train": 1, "dev": 2}, str)
    assert told == [("train", 1), ("validation", 2), ("test", 3)]
    assert split_names.parts_of_splits({"unsupervised": 1}, str) == [("", 1)]
    with pytest.raises(InputError, match=r"`unsupervised` is not train.* give one split: `imdb/train`, `imdb/unsuper"):
        split_names.parts_of_splits({"train": 1, "unsupervised": 2}, lambda split: f"imdb/{split}")
