"""What is known about well-known datasets."""

import re

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.dataset_info.presets import preset, preset_of, presets


@pytest.mark.parametrize("name", presets())
def test_a_preset_says_what_must_be_known(name):
    known = preset(name)
    assert known.name == name
    assert all((known.title, known.source.startswith("https://"), known.licence, known.sheet, known.system))
    assert {"instruction", "output"} <= set(known.columns)
    assert set(known.sample) == set(known.columns)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", known.model)


def test_medqa_is_told_by_its_sheet():
    assert preset_of(["Notes", "DrugQA"]) == preset("medqa")
    assert preset_of(["Sheet1"]) is None


def test_the_closest_preset_is_named():
    with pytest.raises(UsageError, match="did you mean `medqa`"):
        preset("medqa2")
