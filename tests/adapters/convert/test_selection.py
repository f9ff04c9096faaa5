"""Which samples go into which files."""

import tracemalloc
from array import array
from pathlib import Path

import numpy as np
import pytest

from ftbridge.adapters.convert.options import ConvertOptions, parse_split
from ftbridge.adapters.convert.plan import plan_conversion
from ftbridge.adapters.convert.selection import EncodedSamples, select_samples
from ftbridge.adapters.mapping.inference.infer import MappingOptions
from ftbridge.adapters.sources.locate import origins
from ftbridge.core.errors import InputError, UsageError


@pytest.fixture
def plan(lines):
    def make(**options):
        found = origins([str(lines({"question": "q", "answer": "a"}))])
        return plan_conversion(found, "faq", Path("data"), ConvertOptions(**options), replace=False)

    return make


def encoded(questions, wholes=()):
    counts = {"read": len(questions) + 2, "empty": 0, "left_out": 1, "rejected": 1}
    size = len(questions)
    return EncodedSamples(
        counts, size, bytearray(size), bytearray(), array("i"), array("Q", questions), array("Q", wholes or range(size))
    )


def chosen(selection):
    return {name: None if each is None else each.tolist() for name, each in selection.items()}


def test_selection_without_options_keeps_all_samples_in_order(plan):
    selection, counts = select_samples(plan(), encoded(range(5)))
    assert chosen(selection) == {"faq-train": None}
    assert (counts.read, counts.written, counts.rejected, counts.left_out) == (7, 5, 1, 1)


def test_parts_and_subsets_are_in_the_sources_order(plan):
    selection, counts = select_samples(plan(split=parse_split("3:2"), sample=(1, 3)), encoded(range(10)))
    found = chosen(selection)
    assert [*found] == ["faq-train", "faq-test", "faq-train-1", "faq-train-3"]
    assert sorted(found["faq-train"] + found["faq-test"]) == list(range(10))
    assert {*found["faq-train-1"]} < {*found["faq-train-3"]} < {*found["faq-train"]}
    assert all(each == sorted(each) for each in found.values())
    assert counts.written == 10


def test_duplicates_and_samples_left_out_by_a_split_are_counted(plan):
    selection, counts = select_samples(
        plan(split=parse_split("train=2,test=1"), dedup="exact"), encoded(range(6), [1, 1, 2, 3, 4, 5])
    )
    assert sum(len(each) for each in chosen(selection).values()) == 3
    assert (counts.written, counts.duplicates, counts.left_out) == (3, 1, 3)
    assert counts.read == counts.written + counts.rejected + counts.duplicates + counts.left_out


def test_more_samples_or_parts_than_there_are_rows_are_refused(plan):
    with pytest.raises(UsageError, match="asks for 6 of 5"):
        select_samples(plan(sample=(6,)), encoded(range(5)))
    with pytest.raises(InputError, match="leave the"):
        select_samples(plan(split=parse_split("1:1")), encoded([7, 7, 7]))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "most"), [(0, 38), (3, 42)])
def test_selection_of_a_million_samples_keeps_memory_low(plan, classes, most):
    size, draw = 1_000_000, np.random.default_rng(1)
    hashes = [draw.integers(0, 2**63, size, np.uint64).tobytes() for _ in range(2)]
    asked = plan(
        split=parse_split("7:3"),
        sample=(100,),
        dedup="exact",
        mapping=MappingOptions(stratify="answer" if classes else ""),
    )
    tracemalloc.start()
    try:
        given = encoded(())
        given.samples, given.multi_turn = size, bytearray(size)
        given.labels.extend(number % classes for number in range(size) if classes)
        given.questions.frombytes(hashes[0])
        given.wholes.frombytes(hashes[1])
        select_samples(asked, given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    lengths = 8  # the bytes that the files keep of each sample, in two formats
    assert peak / size + lengths < most
