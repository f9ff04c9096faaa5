"""JSON arrays."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.sources import json as source
from ftbridge.adapters.sources import jsonl
from ftbridge.core.errors import InputError

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), min_size=1, max_size=6)


def read(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faq.json"
        path.write_bytes(content)
        return list(source.open_table(path, None).rows)


@given(RECORDS, st.booleans(), st.sampled_from([None, 2]), st.integers(1, 40))
def test_what_goes_in_comes_out_whatever_the_window(records, ascii_only, indent, window):
    content = json.dumps(records, ensure_ascii=ascii_only, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "WINDOW", window)
        assert [row.values for row in read(content.encode())] == records


def test_rows_know_their_elements():
    rows = read(b'\xef\xbb\xbf[{"a": 1}, 5, {"a": 2}, {}]')
    assert [row.where.cell("") for row in rows] == ["element 1", "element 2", "element 3", "element 4"]
    assert [bool(row.error) for row in rows] == [False, True, False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, {"a": ]', "at element 2"),
        (b'[{"a": 1} {"a": 2}]', "`,` is missing"),
        (b'[{"a": 1}', "at element 1"),
        (b'[{"a": 1}]]', "follows the end"),
        (b'[{"a": 1},]', "at element 2"),
        (b'[{"a": NaN}]', "`NaN` is not JSON"),
        (b'[{"a": "x]', "Unterminated string"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        (b'[{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "holds no JSON object"),
        (b"[1, 2]", "element 1 is 1, not an object"),
    ],
)
def test_what_is_broken_is_one_sentence_with_a_place(content, message):
    with pytest.raises(InputError, match=message):
        read(content)


def test_an_array_is_told_by_content():
    assert source.detect(Path("a.jsonl"), b"\xef\xbb\xbf\n [")
    assert not source.detect(Path("a.json"), b'{"a"')


def test_a_sheet_is_refused(folder):
    with pytest.raises(InputError, match="no sheets"):
        source.open_table(folder / "a.json", "Sheet1")


def test_the_json_test_suite_is_read_or_refused(shared):
    refused = {}
    for path in sorted((shared / "messy_json" / "test_parsing").glob("*.json")):
        head = path.read_bytes()[:4096]
        reader = source if source.detect(path, head) else jsonl
        try:
            rows = list(reader.open_table(path, None).rows)
        except InputError as error:
            refused[path.name] = str(error)
        else:
            assert not path.name.startswith("n_") or any(row.error for row in rows), path.name
    # What is valid JSON is refused only for holding no object.
    assert all("no JSON object" in text for name, text in refused.items() if name.startswith("y_"))
