"""Samples made by one process and by several: the same, in order, and none left behind."""

import os
import signal
import threading
from itertools import islice
from pathlib import Path

import pytest

from ftbridge.adapters.convert.samples import workers
from ftbridge.adapters.sources.text import jsonl
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import Row, Rows, Table, Where

from ....builders.encoded import pieces_of, run  # noqa: TID252


def test_several_workers_encode_the_same_as_one(small_pieces, lines, monkeypatch):
    answers = [f"a{at}" * (at % 7 + 1) for at in range(200)]
    answers[150] = ""
    several, found = run(pieces_of(answers), grouped=True)
    assert len(found) > workers.FEWEST_PIECES
    monkeypatch.setattr(workers, "MOST_WORKERS", 1)
    one, _ = run(pieces_of(answers), grouped=True)
    assert several == one == [answer for answer in answers if answer]
    (reject,) = [reject for batch in found for reject in batch.rejects]
    assert reject[0].where == reject[1][0].where == Where("faq.jsonl", 151)
    assert sum(batch.read for batch in found) == 200
    assert {key for batch in found for key in batch.questions} == {found[0].questions[0]}


def test_rejected_rows_of_several_tables_keep_their_own_numbers(small_pieces):
    bad = [Row(Where("b", number), {}, "is bad") for number in (1, 2)]
    good = Row(Where("b", 3), {"question": "q", "answer": "b"})
    other = Table(file="b", columns=("question", "answer"), pieces=[Rows(iter([*bad, good]))], first=(good,))
    answers, found = run(pieces_of(["a", "", "c"]), other)
    assert answers == ["a", "c", "b"]
    rejected = [(row.where.file, row.where.row) for batch in found for row, _ in batch.rejects]
    assert rejected == [("faq.jsonl", 2), ("b", 1), ("b", 2)]


def test_a_limit_leaves_the_rest_out_unlooked_at(small_pieces):
    answers, found = run(pieces_of(["a", "", "b", "c", "", "d"]), limit=2)
    assert answers == ["a", "b"]
    assert [sum(getattr(batch, name) for batch in found) for name in ("read", "left_out")] == [6, 3]
    assert sum(len(batch.rejects) for batch in found) == 1


def test_a_damaged_piece_stops_all_processes(small_pieces):
    table = pieces_of("abcdefghij")
    pieces = [*table.pieces]
    pieces[3] = jsonl.Lines(Path("gone.jsonl"), 0, 10)
    broken = Table(file="f", columns=table.columns, pieces=pieces, first=table.first, cut=True)
    with pytest.raises((InputError, OSError)):
        run(broken)


class Killer:
    """A piece that ends the process that reads it, as a lack of memory does."""

    def rows(self):
        os.kill(os.getpid(), signal.SIGKILL)
        yield Row(Where("f", 1), {})


def test_killed_worker_is_one_sentence(small_pieces):
    table = pieces_of("abcdefghij")
    pieces = [*islice(table.pieces, 5), Killer()]
    with pytest.raises(SetupError, match="was killed"):
        run(Table(file="f", columns=table.columns, pieces=pieces, first=table.first, cut=True))


def test_interrupt_while_workers_start_waits_even_from_another_thread():
    done, reached = threading.Event(), []

    def disturb():
        with workers._interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(0.1)
            reached.append(True)

    threading.Thread(target=done.wait).start()
    with pytest.raises(KeyboardInterrupt):
        disturb()
    done.set()
    assert reached
