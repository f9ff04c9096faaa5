"""JSON arrays and single objects."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.sources.text import csv, jsonl
from ftbridge.adapters.sources.text import json as source
from ftbridge.adapters.values import decode_raw
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading

from ....builders.sources import read_source  # noqa: TID252

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text())
NESTED = st.one_of(SCALARS, st.lists(st.dictionaries(st.text(), SCALARS, max_size=2), max_size=3))
RECORDS = st.lists(st.dictionaries(st.text(), NESTED, min_size=1, max_size=4), min_size=1, max_size=6)


def read(content, **reading):
    ((_, rows),) = read_source(content, "faq.json", source, detected=True, **reading)
    return rows


def values(rows):
    return [{key: decode_raw(value) for key, value in row.values.items()} for row in rows]


@given(RECORDS, st.booleans(), st.sampled_from([None, 2]), st.integers(1, 40))
def test_json_array_is_read_back_whatever_the_block_size(records, ascii_only, indent, window):
    content = json.dumps(records, ensure_ascii=ascii_only, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftbridge.adapters.sources.text.encoding.BLOCK", window)
        assert values(read(content)) == records


def test_json_rows_carry_their_element_numbers_and_errors():
    rows = read(b'\xef\xbb\xbf[{"a": 1}, 5, {"a": 2}, {}, {"a": "\\ud800"}, [1]]')
    assert [row.where.cell("") for row in rows] == [f"element {at}" for at in range(1, 7)]
    assert [row.error for row in rows] == [
        "",
        "is `5`, not an object",
        "",
        "is an object without values",
        "",
        "is `[1]`, not an object",
    ]
    assert rows[4].values == {"a": "\ud800"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}, {"a": ]', "at element 2"),
        ('[{"a": 1} {"a": 2}]', "Extra data at character 10, at element 1"),
        ('[{"a": 1}', "it is truncated, at element 1"),
        ('[{"a": 1}]]', "`]` follows its end"),
        ('[{"a": 1},]', "at element 2"),
        ('[{"a": 1},{"a": 1},,{"a": 1}]', "at element 3"),
        ('[{"a": NaN}]', "`NaN` is not JSON, at element 1"),
        ('[{"a": "x]', "it is truncated, at element 1"),
        (b'[{"a": "\xff"}]', "element 1 holds bytes that do not decode"),
        ('[{"a": ' + "[" * 100_000, "it is truncated"),
        ('[{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", "it is nested too deeply, at element 1"),
        ("[]", "holds no JSON object; it is empty"),
        ("[1, 2]", "element 1 is `1`, not an object"),
        ('{"a": {"x": 1}, "b": {"x": 2}}', "holds objects by key (`a`, `b`), and the meaning of the keys is unknown"),
        ('{\n"a": 1\n}\n{\n"a": 2\n}', "several objects one after another"),
        ('{"a": 1}{"a": 2}', "several objects one after another, not one on each line"),
        ('{\n"a": 1\n},\n{\n"a": 2\n}', "several objects with commas between them; put `[` before"),
        ('{\n"a": 1,\n}', "is not valid JSON: Expecting property name"),
        ('{"one": [{"a": 1}], "two": [{"a": 2}]}', "choose with `--sheet`: `one`, `two`"),
        (b'{\n"\xff": 1}', "is not valid JSON: not UTF-8"),
    ],
)
def test_broken_json_is_one_sentence_with_a_place(content, message):
    with pytest.raises(InputError) as raised:
        read(content)
    assert message in str(raised.value)


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_found_under_the_key_of_an_object(indent):
    rows = [{"a": 1}, {"a": "\ud800"}]
    ((table, found),) = read_source(
        json.dumps({"version": "1.0", "data": rows}, indent=indent), "faq.json", source, detected=True
    )
    assert (values(found), table.notes) == (rows, ("rows are under `data`",))
    assert [row.where.cell("") for row in found] == ["element 1", "element 2"]


def test_splits_of_an_object_become_parts():
    found, rows = zip(
        *read_source('{"train": [{"a": 1}], "dev": [{"a": 2}, 3]}', "faq.json", source, detected=True), strict=True
    )
    assert [table.part for table in found] == ["train", "validation"]
    assert [row.where.cell("") for row in rows[1]] == ["dev element 1", "dev element 2"]
    assert rows[1][1].error == "is `3`, not an object"


def test_list_of_an_object_is_chosen_by_its_name():
    content = '{"one": [{"a": 1}], "two": [{"a": 2}]}'
    assert values(read(content, sheets=("two",))) == [{"a": 2}]
    with pytest.raises(InputError, match="has no list `too`; did you mean `two`"):
        read(content, sheets=("too",))


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "why?", "output": "because"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"text": "Paris", "entities": [{"start": 0}]},
    ],
)
def test_an_object_can_be_one_record(record):
    for indent, place in ((2, "object 1"), (None, "line 1")):
        (row,) = read(json.dumps(record, indent=indent))
        assert (values([row]), row.where.cell("")) == ([record], place)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "gb18030", "big5"])
def test_json_in_another_encoding_is_read_and_told(encoding):
    record = {"問": "房間裡面有沒有熱水", "答": "昨天晚上沒有水"}
    content = json.dumps([record] * 3, ensure_ascii=False).encode(encoding)
    ((table, rows),) = read_source(content, "faq.json", source, detected=True)
    assert values(rows) == [record] * 3
    assert table.notes[0].startswith("read as ")


@pytest.mark.parametrize("content", [b"[" + b" " * (5 << 20) + b'{"a": 1}]', b" " + b"[" + b"\n" * (5 << 20)])
def test_blanks_without_end_are_not_held_in_memory(monkeypatch, content):
    monkeypatch.setattr(source, "LONGEST", 2 << 20)
    with pytest.raises(InputError, match="goes on for more than 2 MiB, at element 1"):
        read(content)


def test_an_element_without_end_is_refused_within_bounds(monkeypatch):
    monkeypatch.setattr(source, "LONGEST", 2 << 20)
    with pytest.raises(InputError, match="goes on for more than 2 MiB, at element 2"):
        read(b'[{"a": 1}, {"a": "' + b"x" * (8 << 20))
    monkeypatch.setattr(source, "LARGEST_OBJECT", 1 << 20)
    with pytest.raises(InputError, match="one JSON object of more than 1 MiB"):
        read(b'{"a": "' + b"x" * (8 << 20) + b'"}')


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ("\ufeff\n [", True),
        ('{"a": 1}\n', True),
        ('{\n"a": 1}', True),
        ('{"a": 1}\n\n{"a": 2}', False),
        ('{"a": 1,}\n{"a": 2}', False),
        ('{"a": 1},', False),
        ('[{"a": 1}]\n[{"a": 2}]', False),
        ('{"a": "x\n{"a": 2}', False),
        ("a,b", False),
    ],
)
def test_json_lines_are_left_to_their_own_source(folder, content, taken):
    (folder / "a").write_bytes(content.encode())
    assert source.detect(folder / "a", content.encode()) is taken


def talk(*texts, keys=("role", "content"), roles=("user", "assistant")):
    return [{keys[0]: roles[at % 2], keys[1]: text} for at, text in enumerate(texts)]


@given(
    st.lists(st.lists(st.text(), min_size=1, max_size=3).map(lambda texts: talk(*texts)), min_size=1),
    st.integers(1, 40),
)
def test_rows_may_be_lists_of_messages(talks, window):
    for indent in (None, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ftbridge.adapters.sources.text.encoding.BLOCK", window)
            assert values(read(json.dumps(talks, indent=indent))) == [{"messages": each} for each in talks]
    assert values(read(json.dumps({"data": talks}))) == [{"messages": each} for each in talks]


@pytest.mark.parametrize(
    "messages",
    [
        talk("hi", "hello"),
        [{"role": "system", "content": "s"}, *talk("hi", "hello", "why?", "so")],
        talk("hi", "hello", keys=("from", "value"), roles=("human", "gpt")),
        talk("hi", "hello", keys=("speaker", "text"), roles=("patient", "doctor")),
        [*talk("hi", "hello"), {"role": "tool", "content": "x"}],
    ],
    ids=len,
)
def test_a_list_of_messages_is_one_conversation(messages):
    ((table, rows),) = read_source(json.dumps(messages, indent=1), "faq.json", source, detected=True)
    assert (values(rows), str(rows[0].where)) == ([{"messages": messages}], "faq.json conversation 1")
    assert table.notes == (f"its {len(messages)} messages are one conversation",)
    assert len(read(json.dumps(messages), exact=True)) == len(messages)
    for record in ({"dialog": messages}, {"id": 1, "items": messages}):
        assert values(read(json.dumps(record, indent=1))) == [record]


@pytest.mark.parametrize(
    "rows",
    [
        talk("hi"),
        [{"role": "x", "content": "a"}] * 2,
        [{"role": "Person", "text": "a"}, {"role": "Place", "text": "b"}, {"role": "Time", "text": "c"}],
        [{"question": "q", "answer": "a"}] * 2,
    ],
    ids=str,
)
def test_list_that_is_no_conversation_is_read_as_rows(rows):
    assert values(read(json.dumps(rows))) == rows


@pytest.mark.parametrize(
    "record", [{"chat": {"turn_1": {"Human": "hi", "MOSS": "hello"}}}, {"chat": [{"human": "a", "bot": "b"}]}]
)
def test_single_object_that_is_a_conversation_is_one_record(record):
    assert values(read(json.dumps(record))) == [record]


def test_sheet_option_for_a_json_array_is_refused():
    with pytest.raises(InputError, match="no sheets"):
        read('[{"a": 1}]', sheets=("Sheet1",))


def test_the_json_test_suite_is_read_or_refused(public_data):
    """What is valid and holds objects gives them; what is not valid gives no row without an error."""
    paths = sorted((public_data.folder / "messy_json").rglob("*.json"))
    assert paths
    for path in paths:
        content, rows, refusal = path.read_bytes(), [], ""
        reader = next(each for each in (csv, source, jsonl) if each.detect(path, content[:4096]))
        try:
            (table,) = reader.open_tables(path, Reading())
            rows = [row for piece in table.pieces for row in piece.rows()]
        except InputError as error:
            refusal = str(error)
        if refusal and path.name.startswith("y_"):
            assert "holds no JSON object" in refusal, path.name
        if not path.name.startswith("n_") and content[:1] == b"{" and json.loads(content):
            assert values(rows) == [json.loads(content)], path.name
        else:
            assert refusal, path.name


# Rows expected of each file, or what the sentence says that refuses it.
AGATE = {
    "test.json": 3,
    "test_from_json_ambiguous.json": 1,
    "test_key.json": 3,
    "test_keyed.json": "objects by key",
    "test_mixed.json": 3,
    "test_nested.json": 2,
    "test_newline.json": 3,
    "test_non_string_keyed.json": "objects by key",
    "test_tableset.json": "choose with `--sheet`: `table1`, `table2`, `table3`",
}


def test_json_files_of_agate_are_read_or_refused(public_data):
    paths = sorted((public_data.folder / "messy_csv" / "agate").glob("*.json"))
    assert paths
    for path in paths:
        reader = next(each for each in (csv, source, jsonl) if each.detect(path, path.read_bytes()[:4096]))
        expected = AGATE[path.name]
        if isinstance(expected, str):
            with pytest.raises(InputError, match=expected):
                reader.open_tables(path, Reading())
        else:
            (table,) = reader.open_tables(path, Reading())
            assert sum(not row.error for piece in table.pieces for row in piece.rows()) == expected, path.name


def test_messages_that_do_not_decode_are_rows_with_an_error():
    """They cannot be told to be one conversation, and were a traceback."""
    good = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    (row, other) = read(b'{"data": [' + good.replace(b"messages", b"message\xc4") + b", " + good + b"]}")
    assert "holds bytes that do not decode" in row.error
    assert other.error is None or not other.error
