"""Samples of pieces, in one process and in several."""

import json
import os
import signal
import threading
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.adapters.convert.samples import encode, workers
from ftbridge.adapters.convert.samples.encode import Encoder, normalized
from ftbridge.adapters.convert.samples.workers import batches
from ftbridge.adapters.mapping.inference.infer import MappingOptions, infer_mapping
from ftbridge.adapters.sources.text import jsonl
from ftbridge.adapters.targets.sample_file import SampleFile
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import Reading, Row, Rows, Table, Where


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 50)
    monkeypatch.setattr(workers, "CHUNK", 3)


def run(*tables, limit=None, **options):
    """Return the samples of all tables, and what the batches say together."""
    mappings = tuple(infer_mapping(table, MappingOptions(), None).mapping for table in tables)
    maker = Encoder(mappings=mappings, targets=("alpaca", "xtuner"), between=b"\n", **options)
    with Path("out.a").open("w+b") as alpaca, Path("out.x").open("w+b") as xtuner:
        files = [SampleFile(file, as_array=False) for file in (alpaca, xtuner)]
        found = [batch for _, batch in batches(maker, tables, files, limit)]
        for file in files:
            file.finish()
        assert sum(files[0].lengths) == files[0].size == Path("out.a").stat().st_size
    texts = [Path(name).read_text("utf-8").splitlines() for name in ("out.a", "out.x")]
    answers = [json.loads(line)["output"] for line in texts[0]]
    assert answers == [json.loads(line)["conversation"][-1]["output"] for line in texts[1]]
    return answers, found


def pieces_of(answers):
    text = "".join(json.dumps({"question": "q", "answer": answer}) + "\n" for answer in answers)
    Path("faq.jsonl").write_text(text, "utf-8")
    return jsonl.open_tables(Path("faq.jsonl"), Reading())[0]


def test_several_processes_write_what_one_writes(small_pieces, lines, monkeypatch):
    answers = [f"a{at}" * (at % 7 + 1) for at in range(200)]
    answers[150] = ""
    several, found = run(pieces_of(answers), grouped=True)
    assert len(found) > workers.FEW
    monkeypatch.setattr(workers, "MOST", 1)
    one, _ = run(pieces_of(answers), grouped=True)
    assert several == one == [answer for answer in answers if answer]
    (reject,) = [reject for batch in found for reject in batch.rejects]
    assert reject[0].where == reject[1][0].where == Where("faq.jsonl", 151)
    assert sum(batch.read for batch in found) == 200
    assert {key for batch in found for key in batch.questions} == {found[0].questions[0]}


def test_rows_of_several_tables_are_numbered_each_for_itself(small_pieces):
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


def test_long_rows_are_written_few_at_a_time(lines, monkeypatch):
    monkeypatch.setattr(encode, "FULL", 100)
    answers = ["a" * 90, "b", "", "c", "d" * 90, "e" * 90, "f"]
    rows = [Row(Where("f", at), {"question": "q", "answer": answer}) for at, answer in enumerate(answers, 1)]
    table = Table(file="f", columns=("question", "answer"), pieces=[Rows(iter(rows))], first=tuple(rows))
    written, found = run(table)
    assert written == [answer for answer in answers if answer]
    assert [len(batch.marks) for batch in found] == [1, 1, 2, 1, 1]
    assert [reject.where.row for batch in found for reject, _ in batch.rejects] == [3]


def test_a_killed_process_is_a_sentence(small_pieces):
    table = pieces_of("abcdefghij")
    pieces = [*islice(table.pieces, 5), Killer()]
    with pytest.raises(SetupError, match="was killed"):
        run(Table(file="f", columns=table.columns, pieces=pieces, first=table.first, cut=True))


def test_an_interrupt_that_another_thread_takes_waits_as_well():
    done, reached = threading.Event(), []

    def disturb():
        with workers._undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(0.1)
            reached.append(True)

    threading.Thread(target=done.wait).start()
    with pytest.raises(KeyboardInterrupt):
        disturb()
    done.set()
    assert reached


@settings(max_examples=20)
@given(st.lists(st.text(), min_size=1, max_size=9))
def test_equal_samples_have_equal_hashes_and_others_do_not(texts):
    answers = [text + "." for text in texts if text.isprintable()] or ["."]
    _, found = run(pieces_of(answers), dedup="exact")
    hashes = [key for batch in found for key in batch.wholes]
    assert len(set(hashes)) == len(set(answers))


def test_normalized_texts_differ_in_more_than_case_and_blanks():
    assert normalized(" \uff21spirin\n\thelps ") == normalized("aspirin HELPS") == "aspirin helps"
    assert normalized("aspirin helps.") != "aspirin helps"
