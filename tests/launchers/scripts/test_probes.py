"""Which conversations of a dataset are looked at."""

import runpy
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from ftbridge.launchers.process.script import SCRIPTS
from tests.builders.chat_templates import ONE, THREE

module = runpy.run_path(str(SCRIPTS / "probes.py"))
Probes, FIRST, SPREAD, MOST = (module[name] for name in ("Probes", "FIRST", "SPREAD", "MOST"))


def chosen(lengths, messages=ONE, shards=1):
    """Return the numbers of the conversations that are looked at, counted through all shards."""
    places = [*accumulate(lengths, initial=0)]
    parts = [[at for at in range(len(lengths)) if places[at] * shards // places[-1] == part] for part in range(shards)]
    found = []
    for part in filter(None, parts):
        probes = Probes(places[-1], places[part[0]], places[part[-1] + 1])
        for number, at in enumerate(part, 1):
            probes.look_at(number, places[at], lengths[at], {"messages": messages})
        assert [each["place"] for each in probes.records([])] == [places[part[0] + each - 1] for each in probes.found]
        found += [part[0] + each for each in probes.found]
    return found


def test_the_first_are_looked_at_and_some_of_the_rest_evenly():
    assert chosen([50] * 7) == [1, 2, 3, 4, 5, 6, 7]
    assert chosen([50] * FIRST) == [*range(1, FIRST + 1)]
    found = chosen([50] * 2000)
    assert found[:FIRST] == [*range(1, FIRST + 1)]
    assert found[FIRST:] == [100 * number + 1 for number in range(1, SPREAD)]


def test_shards_choose_the_same_as_one_process():
    assert chosen([50] * 2000, shards=4) == chosen([50] * 2000)


def test_long_conversations_are_passed_over_and_the_next_one_is_asked():
    lengths = [50] * 50_000
    lengths[3] = lengths[25_000] = MOST + 1
    found = chosen(lengths)
    assert 4 not in found
    assert 5 in found
    assert 25_001 not in found
    assert 25_002 in found


def test_a_conversation_counts_once_for_each_answer():
    assert chosen([MOST // 2]) == [1]
    assert chosen([MOST // 2], THREE) == []


@given(st.lists(st.integers(1, MOST), min_size=1, max_size=60), st.integers(1, 5))
def test_what_is_looked_at_is_bounded_whatever_the_data(lengths, shards):
    found = chosen(lengths, shards=shards)
    assert len({*found}) == len(found) <= FIRST + SPREAD
    assert sum(lengths[number - 1] for number in found) <= 2 * MOST
