"""JSON lines."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.sources import jsonl
from ftbridge.core.errors import InputError

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text(), st.lists(st.text(), max_size=2))
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), min_size=1, max_size=5)


def read(content, name="faq.jsonl"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return list(jsonl.open_table(path, None).rows)


@given(RECORDS, st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_what_goes_in_comes_out(records, ascii_only, bom, newline):
    content = newline.join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    assert [row.values for row in read(bom + content.encode())] == records


def test_columns_are_the_keys_in_order_of_appearance(lines):
    assert jsonl.open_table(lines({"b": 1}, {"a": 1, "b": 2}), None).columns == ("b", "a")


def test_rows_know_their_lines():
    rows = read(b'{"a": 1}\n\n{"a": 2}\n')
    assert [str(row.where) for row in rows] == ["faq.jsonl line 1", "faq.jsonl line 3"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": NaN}',
        b'{"a": 1',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"[1]",
        b"{}",
        b"[" * 100_000,
        b"{'a': 1}",
    ],
)
def test_a_broken_line_is_an_error_of_its_row(line):
    good, broken, after = read(b'{"a": 1}\n' + line + b'\n{"a": 2}')
    assert not good.error
    assert broken.error
    assert str(broken.where) == "faq.jsonl line 2"
    assert after.values == {"a": 2}


@pytest.mark.parametrize("content", [b"", b"\n \n", b'"text"', b'{\n  "a": 1\n}', b"\xef\xbb\xbf"])
def test_a_file_without_an_object_on_a_line_is_refused(content):
    with pytest.raises(InputError, match="holds no JSON object"):
        read(content, "faq.json")


def test_json_lines_are_told_by_content():
    assert jsonl.detect(Path("a.json"), b'\xef\xbb\xbf {"a"')
    assert not jsonl.detect(Path("a.jsonl"), b" [1]")
    assert not jsonl.detect(Path("a.csv"), b'{"a"')


def test_a_sheet_is_refused(lines):
    with pytest.raises(InputError, match="no sheets"):
        jsonl.open_table(lines({"a": 1}), "Sheet1")


def test_a_file_that_vanishes_is_one_sentence(folder):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        jsonl.open_table(folder / "gone.jsonl", None)
