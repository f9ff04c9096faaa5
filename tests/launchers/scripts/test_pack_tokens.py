"""How samples are put together into packs; the script is loaded by its path, as the training environment does."""

import runpy

from hypothesis import given
from hypothesis import strategies as st

from ftbridge.launchers.process.script import SCRIPTS

packs = runpy.run_path(str(SCRIPTS / "pack_tokens.py"))["packs"]


@given(st.integers(1, 40).flatmap(lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most)))))
def test_each_sample_is_in_one_pack_that_holds_it(case):
    capacity, lengths = case
    found = packs(lengths, capacity)
    assert sorted(number for pack in found for number in pack) == [*range(len(lengths))]
    assert all(sum(lengths[number] for number in pack) <= capacity for pack in found)


@given(st.integers(1, 40).flatmap(lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most)))))
def test_no_two_packs_would_fit_into_one(case):
    capacity, lengths = case
    sizes = sorted(sum(lengths[number] for number in pack) for pack in packs(lengths, capacity))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > capacity


def test_what_fits_exactly_is_put_together():
    assert packs([3, 7, 5, 5, 10], 10) == [[4], [1, 0], [2, 3]]
