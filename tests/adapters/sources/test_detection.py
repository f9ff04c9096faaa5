"""Which source reads a file, told by its content; whatever a file holds is read or refused in a sentence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.adapters.sources.detection import open_path
from ftbridge.core.errors import FtbridgeError, InputError
from ftbridge.core.records import Reading

READING = Reading()


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("faq.txt", b'{"a": 1}\n{"a": 2}\n', ("a",)),
        ("faq.csv", b'[{"a": 1}]', ("a",)),
        ("faq.json", b'{"a": 1}\n{"a": 2}\n', ("a",)),
        ("faq.jsonl", b'[{"a": 1}]', ("a",)),
        ("faq", "甲;乙\n1;2\n".encode("gb18030"), ("甲", "乙")),
        ("faq.json", '[{"甲": 1}]'.encode("utf-16"), ("甲",)),
    ],
)
def test_source_is_chosen_by_content(folder, name, content, columns):
    (folder / name).write_bytes(content)
    (table,) = open_path(folder / name, READING)
    assert table.columns == columns


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
        (b"\x89PNG\r\n\x1a\n\0", "an image"),
        (b"\xef\xbb\xbf\n <html></html>", "a web page or XML"),
        (b"\1\2\3\xff\0" * 9, "of an unsupported format"),
    ],
)
def test_file_that_is_not_read_is_told_with_those_that_are(folder, head, what):
    (folder / "r.pdf").write_bytes(head)
    with pytest.raises(InputError) as told:
        open_path(Path("r.pdf"), READING)
    assert str(told.value) == (
        f"`r.pdf` is {what}; supported are: workbooks (.xlsx, .xls, .xlsb, .ods), CSV and other delimited text, "
        "JSON, JSON lines, Parquet, Arrow, folders of these"
    )


# What text formats are made of, so that many of the files below are nearly right.
SCRAPS = [
    *(b'"', b",", b"\n", b"\r", b"{", b"}", b"[", b"]", b"\\", b"\\u", b"\\ud800", b"\0", b"'", b";", b"\t"),
    *(
        b'{"a":',
        b'"x"',
        b"1e400",
        b"NaN",
        b"question,answer\n",
        b'[{"a":1},',
        b'{"data":[{',
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *("药".encode(codec) for codec in ("utf-8", "gb18030", "utf-16-le")),
]


FILES = st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=8), max_size=14).map(b"".join)


READINGS = st.builds(
    Reading,
    header_row=st.sampled_from([None, 0, 1, 2]),
    encoding=st.sampled_from(["", "", "utf-8", "gb18030", "utf-16", "cp1252"]),
)


def read_or_refused(content, name, reading):
    Path(name).write_bytes(content)
    try:
        for table in open_path(Path(name), reading):
            rows = [row for piece in table.pieces for row in piece.rows()]
            assert [row.where for row in rows[: len(table.first)]] == [row.where for row in table.first]
    except FtbridgeError as error:
        assert name in str(error) or "--encoding" in str(error)  # noqa: PT017 - one of both is right


ARBITRARY = given(FILES, st.sampled_from(["a.csv", "a.json", "a.jsonl", "a.tsv", "a"]), READINGS)


test_any_text_is_read_or_refused_in_a_sentence = settings(max_examples=200)(ARBITRARY(read_or_refused))


test_any_text_is_read_or_refused_at_length = pytest.mark.nightly(
    settings(max_examples=10_000)(ARBITRARY(read_or_refused))
)


def test_text_that_is_called_a_workbook_is_told_to_be_none(folder):
    (folder / "fake.xlsx").write_text("nothing but a note\nof two lines\n")
    with pytest.raises(InputError, match=r"`fake.xlsx` is not a workbook: it holds plain text; supported are"):
        open_path(Path("fake.xlsx"), READING)


def test_delimiter_option_applies_to_delimited_text_alone(folder):
    (folder / "log").write_text("q^a^b\n1^2^3\n")
    with pytest.raises(InputError, match="`log` is of an unsupported format; supported are: workbooks"):
        open_path(Path("log"), READING)
    (table,) = open_path(Path("log"), Reading(delimiter="^"))
    assert table.columns == ("q", "a", "b")
    (folder / "faq.jsonl").write_text('{"q": 1}\n')
    for asked in ({"delimiter": ","}, {"quote": "none"}):
        with pytest.raises(
            InputError, match=r"`faq.jsonl` is not delimited text; leave `--delimiter` and `--quote` out"
        ):
            open_path(Path("faq.jsonl"), Reading(**asked))
