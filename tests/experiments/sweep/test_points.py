from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError

from ...builders.models import write_tensors  # noqa: TID252


def sweep(**options):
    return ftbridge.sweep(**{"grid": {"sample": [4, 8], "lora_rank": [8, 16]}, "name": "sizes", **options})


def test_another_base_than_that_of_what_is_done_is_refused(trainings):
    sweep(grid={"lora_rank": [8]})
    write_tensors(Path("base/model.safetensors"), {"lm_head.weight": (6, 4)})
    with pytest.raises(InputError, match="is not the one that 1 point of this sweep had: put it back"):
        sweep(grid={"lora_rank": [8, 16]})
    assert len(sweep(grid={"lora_rank": [8, 16]}, name="other").rows) == 2


def test_points_that_come_to_the_same_are_refused_before_anything_is_trained(trainings):
    with pytest.raises(UsageError, match=r"points 1 \(lora_rank=64\) and 2 \(rslora=off\) would be the same training"):
        sweep(grid=None, points=[{"lora_rank": 64}, {"rslora": False}])
    assert not trainings.trained


def test_a_sweep_without_a_test_part_is_refused_before_anything_is_trained(trainings):
    ftbridge.convert("news.csv", name="whole")
    with pytest.raises(UsageError, match=r"there is no `whole-test`.*--split 8:1:1"):
        sweep(grid={"lora_rank": [8]})
    assert not trainings.trained
    assert len(sweep(grid={"lora_rank": [8]}, evaluate={"dataset": "news-test"}).rows) == 1


def test_a_larger_grid_does_what_is_new_and_a_smaller_one_forgets_nothing(trainings):
    sweep()
    more = sweep(grid={"sample": [4, 8, 12], "lora_rank": [8, 16]})
    assert (len(more.rows), len(trainings.trained)) == (6, 6)
    assert len(sweep(grid={"sample": [4]}, train={"lora_rank": 8}).rows) == 1
    assert len(sweep(grid={"sample": [4, 8, 12], "lora_rank": [8, 16]}).rows) == 6
    assert len(trainings.trained) == 6
