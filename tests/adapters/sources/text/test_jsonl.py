"""JSON lines."""

import json
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.inference.infer import MappingOptions, infer_mapping
from ftbridge.adapters.sources.text import jsonl
from ftbridge.adapters.values import as_text, decode_raw
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading

from ....builders.sources import read_source  # noqa: TID252

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text(), st.lists(st.text(), max_size=2))
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), min_size=1, max_size=5)
READING = Reading()


def rows_of(path, reading=READING):
    (table,) = jsonl.open_tables(path, reading)
    return [row for piece in table.pieces for row in piece.rows()]


def read(content, name="faq.jsonl"):
    ((_, rows),) = read_source(content, name, jsonl)
    return rows


def values(row):
    return {key: decode_raw(value) for key, value in row.values.items()}


@given(RECORDS, st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_of_any_newline_and_bom_are_read_back(records, ascii_only, bom, newline):
    content = newline.join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    assert [values(row) for row in read(bom + content.encode()) if row.values] == records


@given(st.text(), st.booleans())
def test_text_that_is_not_decoded_is_just_as_msgspec_writes_it(value, ascii_only):
    line = json.dumps({"a": value}, ensure_ascii=ascii_only)
    (row,) = read(line.encode() + b"\n")
    raw = row.values["a"]
    assert bytes(raw) == msgspec.json.encode(value) if isinstance(raw, msgspec.Raw) else raw == value


@pytest.mark.parametrize("written", ['\b\f\n\r\t"\\/', "\x7f\u2028\u2029\ufeff", "\x01\x1f", "药𝄞"])
def test_escapes_are_read_whatever_way_they_are_written(written):
    for line in (json.dumps({"a": written}), json.dumps({"a": written}, ensure_ascii=False).replace("/", "\\/")):
        (row,) = read(line.encode())
        raw = row.values["a"]
        assert decode_raw(raw) == written
        assert not isinstance(raw, msgspec.Raw) or bytes(raw) == msgspec.json.encode(written)


def test_columns_are_the_keys_in_order_of_appearance(lines):
    (table,) = jsonl.open_tables(lines({"b": 1}, {"a": 1, "b": 2}), READING)
    assert table.columns == ("b", "a")


def test_json_lines_rows_carry_their_line_numbers():
    rows = read(b'{"a": 1}\n\n{"a": 2}\n')
    assert [str(row.where) for row in rows] == ["faq.jsonl line 1", "faq.jsonl line 2", "faq.jsonl line 3"]
    assert [bool(row.values) for row in rows] == [True, False, True]
    assert not any(row.error for row in rows)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"a": NaN}', "is not a JSON object: `NaN` is not JSON"),
        (b'{"a": 1', "is not a JSON object: Expecting ',' delimiter at character 8"),
        (b'{"a": "\xff"}', "holds bytes that do not decode"),
        (b'{"a": "\xed\xa0\x80"}', "holds bytes that do not decode"),
        (b"[1]", "is `[1]`, not an object"),
        (b"{}", "is an object without values"),
        (b"[" * 100_000, "is not a JSON object: it is nested too deeply"),
        (b"{'a': 1}", "is not a JSON object: Expecting property name"),
        (b'{"a": 1} {"a": 2}', "is not a JSON object: Extra data at character 10"),
    ],
)
def test_a_broken_line_is_an_error_of_its_row(line, error):
    good, broken, after = read('{"a": "药"}\n'.encode() + line + b'\n{"a": 2}')
    assert (good.error, str(broken.where)) == ("", "faq.jsonl line 2")
    assert broken.error.startswith(error)
    assert values(after) == {"a": 2}


def test_value_with_half_a_surrogate_pair_is_kept_for_the_rejected_file():
    (row,) = read(b'{"a": "x\\ud800", "b": 1}')
    assert (row.values, row.error) == ({"a": "x\ud800", "b": 1}, "")
    assert json.dumps(row.values) == '{"a": "x\\ud800", "b": 1}'


@pytest.mark.parametrize(("number", "expected"), [("1e400", "1e400"), ("7" * 100, "7" * 100), ("9" * 5000, "9" * 5000)])
def test_numbers_of_any_size_are_read(number, expected):
    (row,) = read(b'{"a": ' + number.encode() + b"}")
    assert as_text(row.values["a"]) == expected


def test_key_that_occurs_twice_keeps_its_last_value():
    assert [values(row) for row in read(b'{"a": 1, "a": 2}\n')] == [{"a": 2}]


@pytest.mark.parametrize("content", [b"", b"\n \n", b'"text"', b"\xef\xbb\xbf", b"nothing"])
def test_a_file_without_an_object_on_a_line_is_refused(content):
    with pytest.raises(InputError, match="holds no JSON object"):
        read(content, "faq.json")


@pytest.mark.parametrize("pack", [lambda data: data, zstandard.ZstdCompressor().compress], ids=["plain", "zstd"])
def test_a_file_is_read_in_pieces_of_whole_lines(folder, pack, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 1000)
    monkeypatch.setattr("ftbridge.adapters.sources.text.encoding.BLOCK", 1000)
    records = [{"a": "药" * at} for at in range(100)]
    (folder / "faq.jsonl").write_bytes(pack("".join(f"{json.dumps(record)}\n" for record in records).encode()))
    (table,) = jsonl.open_tables(folder / "faq.jsonl", READING)
    pieces = [list(piece.rows()) for piece in table.pieces]
    assert len(pieces) > 5
    assert [values(row) for rows in pieces for row in rows] == records
    assert all(rows[0].where.row == 1 for rows in pieces)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "gb18030", "big5"])
def test_json_lines_in_another_encoding_are_read_and_told(folder, encoding):
    line = '{"問": "房間裡面有沒有熱水", "答": "昨天晚上沒有水"}\n'
    (folder / "faq.jsonl").write_bytes((line * 3).encode(encoding))
    (table,) = jsonl.open_tables(folder / "faq.jsonl", READING)
    assert len(table.notes) == 1
    assert [values(row) for row in rows_of(folder / "faq.jsonl")] == [json.loads(line)] * 3


def test_a_line_without_end_is_refused_within_bounds(folder, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST", 1 << 20)
    content = b'{"a": 1}\n{"a": "' + b"x" * (3 << 20)
    for pack in (bytes, zstandard.ZstdCompressor().compress):
        (folder / "faq.jsonl").write_bytes(pack(content))
        with pytest.raises(InputError, match="holds a line of more than 1 MiB"):
            rows_of(folder / "faq.jsonl")


def test_json_lines_are_told_by_content_else_by_name():
    assert jsonl.detect(Path("a.txt"), b'\xef\xbb\xbf {"a"')
    assert jsonl.detect(Path("a"), '{"a"'.encode("utf-16"))
    assert jsonl.detect(Path("a.jsonl.gz"), b"nothing")
    assert not jsonl.detect(Path("a.jsonl"), b" [1]")
    assert not jsonl.detect(Path("a.csv"), b"a,b")


def test_sheet_option_for_json_lines_is_refused(lines):
    with pytest.raises(InputError, match="no sheets"):
        jsonl.open_tables(lines({"a": 1}), Reading(sheets=("Sheet1",)))


def test_missing_json_lines_file_is_one_sentence(folder):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        jsonl.open_tables(folder / "gone.jsonl", READING)


MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": 'said "hello/"'}]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_line_that_is_a_list_of_messages_is_a_row(folder, ascii_only):
    odd = [{"role": "user", "content": "药\ud800"}]
    content = "\n".join(json.dumps(each, ensure_ascii=ascii_only or each is odd) for each in (MESSAGES, odd, [1]))
    (folder / "a.jsonl").write_text(content)
    assert jsonl.detect(folder / "a.jsonl", content.encode())
    good, half, number = rows_of(folder / "a.jsonl")
    assert (values(good), values(half)) == ({"messages": MESSAGES}, {"messages": odd})
    assert (str(good.where), number.error) == ("a.jsonl line 1", "is `[1]`, not an object")
    with pytest.raises(InputError, match="not an object"):
        rows_of(folder / "a.jsonl", Reading(exact=True))


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ('[{"a": 1}]\n\n[{"a": 2}]', True),
        ('[{"a": 1}]\n', False),
        ('[{"a": 1},\n{"a": 2}]', False),
        ('[{"a": 1}]\nrest', False),
        ('[{"a": 1]\n[{"a": 2}]', False),
    ],
)
def test_lines_of_lists_are_told_from_an_array(folder, content, taken):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (folder / "a.json").write_text(content, encoding)
        assert jsonl.detect(folder / "a.json", content.encode(encoding)) is taken


@pytest.mark.parametrize("name", ["faq.json", "faq.jsonl"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", " \n\n"])
def test_lines_may_end_with_a_comma(folder, name, newline):
    content = "".join(f'{{"a": {at}}},{newline}' for at in range(3)) + '{"a": 3}'
    (folder / name).write_bytes(content.encode())
    assert jsonl.detect(folder / name, content.encode())
    (table,) = jsonl.open_tables(folder / name, READING)
    assert table.notes == ("lines end with a comma, read as JSON lines",)
    assert [values(row)["a"] for row in rows_of(folder / name) if row.values] == [0, 1, 2, 3]
    exact = [row for row in rows_of(folder / name, Reading(exact=True)) if row.values or row.error]
    assert ["Extra data" in row.error for row in exact] == [True] * 3 + [False]


def test_a_comma_at_the_end_of_some_line_is_an_error_that_names_it():
    _, broken = read(b'{"a": 1}\n{"a": 2},')
    assert broken.error == "is not a JSON object: Extra data at character 9 (it ends with a comma)"


def test_the_messages_of_one_conversation_are_one_row(folder, lines):
    path = lines(*MESSAGES)
    (table,) = jsonl.open_tables(path, READING)
    assert [values(row) for row in rows_of(path)] == [{"messages": MESSAGES}]
    assert table.notes == ("its 2 messages are one conversation",)
    assert len(rows_of(path, Reading(exact=True))) == 2


@pytest.mark.parametrize("key", ["conversation_id", "session", "message_tree_id"])
def test_messages_of_several_conversations_are_not_joined(folder, key):
    said = [{key: at // 2, "role": ("user", "assistant")[at % 2], "content": f"text {at}"} for at in range(4)]
    (folder / "talks.jsonl").write_text("".join(json.dumps(each) + "\n" for each in said))
    (table,) = jsonl.open_tables(folder / "talks.jsonl", Reading())
    assert len(table.first) == 4
    with pytest.raises(InputError, match=r"is one message|trees of messages"):
        infer_mapping(table, MappingOptions(), None)
