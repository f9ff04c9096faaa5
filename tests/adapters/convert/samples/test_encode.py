"""Samples of rows, in batches, with what tells equal ones."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.adapters.convert.samples import encode
from ftbridge.adapters.convert.samples.encode import normalize_text
from ftbridge.core.records import Row, Rows, Table, Where

from ....builders.encoded import pieces_of, run  # noqa: TID252


def test_long_rows_are_encoded_in_short_batches(lines, monkeypatch):
    monkeypatch.setattr(encode, "FULL_BYTES", 100)
    answers = ["a" * 90, "b", "", "c", "d" * 90, "e" * 90, "f"]
    rows = [Row(Where("f", at), {"question": "q", "answer": answer}) for at, answer in enumerate(answers, 1)]
    table = Table(file="f", columns=("question", "answer"), pieces=[Rows(iter(rows))], first=tuple(rows))
    written, found = run(table)
    assert written == [answer for answer in answers if answer]
    assert [len(batch.multi_turn) for batch in found] == [1, 1, 2, 1, 1]
    assert [reject.where.row for batch in found for reject, _ in batch.rejects] == [3]


@settings(max_examples=20)
@given(st.lists(st.text(), min_size=1, max_size=9))
def test_hashes_are_equal_for_equal_samples_alone(texts):
    answers = [text + "." for text in texts if text.isprintable()] or ["."]
    _, found = run(pieces_of(answers), dedup="exact")
    hashes = [key for batch in found for key in batch.wholes]
    assert len(set(hashes)) == len(set(answers))


def test_normalized_text_ignores_case_width_and_blanks_alone():
    assert normalize_text(" \uff21spirin\n\thelps ") == normalize_text("aspirin HELPS") == "aspirin helps"
    assert normalize_text("aspirin helps.") != "aspirin helps"
