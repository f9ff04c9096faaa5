"""CSV and TSV."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.headers import columns_by_field
from ftbridge.adapters.sources.text import csv as source
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.records import Reading

from ....builders.sources import read_source  # noqa: TID252

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6)
)
CHINESE = "问题;答案\n" + "".join(f"酒店的房间很大吗{at};服务员说今天没有热水\n" for at in range(5))


def table(content, name="faq.csv", **reading):
    ((found, rows),) = read_source(content, name, source, **reading)
    return found, rows


def values(content, **reading):
    return [row.values for row in table(content, **reading)[1]]


@given(
    TABLES,
    st.sampled_from(",\t;|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_csv_of_any_delimiter_newline_and_encoding_is_read_back(records, delimiter, newline, encoding):
    headers = [f"column {at}" for at, _ in enumerate(records[0])]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([headers, *records])
    rows = values(text.getvalue().encode(encoding))
    assert rows == [dict(zip(headers, record, strict=True)) if any(record) else {} for record in records]


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ("delimiter `;`",)),
        ("utf-8-sig", ("delimiter `;`",)),
        ("gb18030", ("read as gb18030 (guessed; `--encoding` decides), delimiter `;`",)),
        ("utf-16-le", ("read as utf-16-le, delimiter `;`",)),
        ("utf-16", ("read as utf-16-le, delimiter `;`",)),
    ],
)
def test_encoding_and_delimiter_are_found_and_told(encoding, note):
    found, rows = table(CHINESE.encode(encoding))
    assert found.notes == note
    assert found.columns == ("问题", "答案")
    assert rows[4].values == {"问题": "酒店的房间很大吗4", "答案": "服务员说今天没有热水"}


def test_the_encoding_that_is_asked_for_is_taken():
    assert values("a,b\n1,é\n".encode("cp1252"), encoding="cp1251") == [{"a": "1", "b": "й"}]
    with pytest.raises(UsageError, match=r"`--encoding` takes a codec .* got `utf-9`"):
        table("a,b\n", encoding="utf-9")
    with pytest.raises(InputError, match="is not in ascii; give another `--encoding`"):
        table("a,b\n药,药\n", encoding="ascii")


def test_bytes_that_do_not_decode_are_an_error_of_their_row():
    good = "问题和答案,有很多\n".encode()
    _, rows = table(b"a,b\n" + good + b"x,\xff\n" + good)
    assert [row.error for row in rows] == ["", "holds bytes that are not utf-8, in line 3", ""]
    json.dumps(rows[1].values)


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ('a,b\n"x, ""y""",007\n', {"a": 'x, "y"', "b": "007"}),
        ('a,b\n"x, \\"y\\"",NA\n', {"a": 'x, "y"', "b": "NA"}),
        ("'a','b'\n'x, y','null'\n", {"a": "x, y", "b": "null"}),
        ('a, b\n"x, y", "z"\n', {"a": "x, y", "b": "z"}),
        ('a\tb\n"x\ty\n', {"a": '"x', "b": "y"}),
        ("a,b\nit's,C:\\new\n", {"a": "it's", "b": "C:\\new"}),
        ("sep=;\na;b\n1,5;2\n", {"a": "1,5", "b": "2"}),
        ("text\nHello, world\n", {"text": "Hello, world"}),
        ('a,b\r\n" x\r\ny ",\r\n', {"a": " x\r\ny ", "b": ""}),
        ("a,b\n1,2,,\n", {"a": "1", "b": "2"}),
        ("a,b\n1,x\0y\n", {"a": "1", "b": "x\0y"}),
        ("a|b\n1|2,5\n", {"a": "1", "b": "2,5"}),
    ],
)
def test_csv_cells_are_kept_as_they_stand(content, row):
    assert values(content) == [row]


def test_ragged_records_are_errors_with_their_cells():
    _, rows = table('a,b\n"1\n",2\n3\n\n4,5,6\n,\n7,8\n')
    assert [(row.where.cell(""), row.values, row.error) for row in rows] == [
        ("record 2", {"a": "1\n", "b": "2"}, ""),
        ("record 3", {"a": "3"}, "has 1 cell, not 2 as the headers say, in line 4"),
        ("record 4", {}, ""),
        ("record 5", {"a": "4", "b": "5", "3": "6"}, "has 3 cells, not 2 as the headers say, in line 6"),
        ("record 6", {}, ""),
        ("record 7", {"a": "7", "b": "8"}, ""),
    ]


def test_unclosed_quote_is_an_error_of_its_line_alone():
    _, rows = table('a,b\n1,"x" y\n' + '"1",2\n' * 9 + '3,"x\n4,5\n')
    advice = "(`--quote none` reads quotes literally)"
    assert [(row.where.row, row.error) for row in rows if row.error] == [
        (2, f"has an unclosed quote, or one inside a cell that is not doubled, in line 2 {advice}"),
        (12, f"has an unclosed quote, or one inside a cell that is not doubled, in line 12 {advice}"),
    ]
    assert len(rows) == 12
    assert rows[-1].values == {"a": "4", "b": "5"}


FAR = "".join(f'"question, {at}",answer {at}\n' for at in range(9000))  # more than is looked at for the dialect


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "bad", "more"),
    [
        ('"lone,answer\n', 1, 0),
        ('"lone,answer\n' + "x,y\n" * 9000, 1, 9000),
        ('lone,"answer\nx,y\nx,"answer" y\n', 2, 1),
        ('"lone,answer\nx,y\nends",answer\n', 0, 3),
        ('"lone,answer\n' + "x,y\n" * 40_000 + 'ends",answer\n', 0, 40_002),
        ('"real,\nlines\n,and",answer\n', 0, 1),
        ('"real\n' + "line\n" * 100_000 + '",answer\n', 0, 1),
        ('lone,"answer\r\nx,y\r\n', 1, 1),
        ('x,\\N\n"lone,answer\n', 1, 1),
    ],
)
def test_a_lone_quote_far_down_costs_no_more_than_its_line(odd, bad, more):
    _, rows = table("q,a\n" + FAR + odd + FAR)
    assert [sum(bool(row.error) for row in rows), len(rows)] == [bad, 18_000 + bad + more]
    assert [row.where.row for row in rows] == [*range(2, len(rows) + 2)]
    assert rows[-1].values == {"q": "question, 8999", "a": "answer 8999"}


def test_the_lines_of_a_lone_quote_are_rows_with_their_quotes():
    _, rows = table("q,a\n" + FAR + '"lone,\\N\nx,y\nends",answer\n')
    assert [[*row.values.values()] for row in rows[-3:]] == [['"lone', ""], ["x", "y"], ['ends"', "answer"]]


@given(
    st.integers(2, 3),
    st.lists(
        st.tuples(st.text("ab \"'", max_size=8), st.text("ab \"'", min_size=1, max_size=8)), min_size=1, max_size=9
    ),
)
def test_malformed_quotes_never_join_lines(width, records):
    # A cell that is in quotes as a whole may be one of a CSV writer's.
    records = [[question + "x"] * (width - 1) + [answer + "y"] for question, answer in records]
    headers = ["q", "r", "a"][-width:]
    text = "".join("\t".join(record) + "\n" for record in [headers, *records])
    rows = values(text, delimiter="tab", quote="none")
    assert [[*row.values()] for row in rows] == records
    found = [row for row in table(text, delimiter="tab")[1] if not row.error]
    assert len(found) + sum('"' in "".join(record) for record in records) >= len(records)
    for row in found:
        assert "\n" not in "".join(row.values.values())


@pytest.mark.parametrize(
    ("content", "reading", "row"),
    [
        ("a^b\n1^2,3\n", {"delimiter": "^"}, {"a": "1", "b": "2,3"}),
        ("a b\n1 2\n", {"delimiter": "space"}, {"a": "1", "b": "2"}),
        ("a\tb\n1\t2\n", {"delimiter": r"\t"}, {"a": "1", "b": "2"}),
        ("a,b;c\n1,2;3\n", {"delimiter": "semicolon"}, {"a,b": "1,2", "c": "3"}),
        ("sep=;\na,b\n1,2\n", {"delimiter": ","}, {"a": "1", "b": "2"}),
        ('a,b\n"1",2\n', {"quote": "none"}, {"a": '"1"', "b": "2"}),
        ("a,b\n^1,5^,2\n", {"quote": "^"}, {"a": "1,5", "b": "2"}),
    ],
)
def test_delimiter_and_quote_that_are_asked_for_are_taken(content, reading, row):
    assert values(content, **reading) == [row]


@pytest.mark.parametrize(
    "content",
    [
        "a\tb\nx\t\\N\n",
        "a,b\nx,\\N\n",
        'a,b\n"x",\\N\n',
        'a,b\n"x \\"y\\"",\\N\n',
        "a;b\r\nx;\\N\r\n",
        'a, b\n"x", \\N\n"v", "w"\n',
    ],
)
def test_mysqls_null_is_read_as_empty(content):
    assert values(content)[0]["b"] == ""


def test_quoted_or_embedded_mysql_null_is_kept_as_text():
    assert values('a,b\n"\\N",x \\N\n"y\n\\N\n",\\N\n') == [{"a": r"\N", "b": r"x \N"}, {"a": "y\n\\N\n", "b": ""}]


@pytest.mark.parametrize(
    ("content", "reading", "columns", "row"),
    [
        ("A table\n\nid,question,answer\n1,q,a\n", {}, ("id", "question", "answer"), 4),
        ("A table\nx,y\n1,2\n", {"header_row": 2}, ("x", "y"), 3),
        ("1,2\n3,4\n", {"header_row": 0}, ("1", "2"), 1),
        ("a,a,,b,\n1,2,3,4,\n", {}, ("a [A]", "a [B]", "[C]", "b"), 2),
    ],
)
def test_csv_headers_are_found_and_made_unique(content, reading, columns, row):
    found, rows = table(content, **reading)
    assert found.columns == columns
    assert rows[0].where.cell("") == f"record {row}"
    assert not rows[0].error


@pytest.mark.parametrize(
    ("content", "reading", "message"),
    [
        ("\n \n", {}, "holds no records"),
        ("a,b\n", {"header_row": 3}, "no headers in record 3"),
        ("a,b\n", {"sheets": ("x",)}, "has no sheets"),
        ("a,a [A],a\n", {}, r"several columns have the header `a \[A\]`"),
    ],
)
def test_unreadable_csv_is_one_sentence(content, reading, message):
    with pytest.raises(InputError, match=message):
        table(content, **reading)


@pytest.mark.parametrize("content", ['a,b\n1,"', "a,b\n1,"], ids=["quoted", "bare"])
def test_a_line_without_end_is_refused_within_bounds(content, monkeypatch):
    monkeypatch.setattr(source, "LONGEST", 1 << 20)
    with pytest.raises(InputError, match=r"not a table: the line that begins with `1,.* is longer than 1 million"):
        table(content + "x" * (2 << 20))


@pytest.mark.slow
def test_a_record_without_end_costs_its_line_within_bounds(monkeypatch):
    monkeypatch.setattr(source, "LONGEST", 1 << 20)
    rows = table("a,b\n" + FAR.replace("question", "q") + '1,"x\n' + "more, of it, \n" * (1 << 17))[1][9000:]
    assert [row.error[:37] for row in rows[:2]] == [
        "has an unclosed quote, or one inside ",
        "has 3 cells, not 2 as the headers say",
    ]
    assert len(rows) == 1 + (1 << 17)


def test_a_record_of_too_many_lines_costs_its_line(monkeypatch):
    monkeypatch.setattr(source, "MOST_LINES", 1000)
    rows = table('a,b\n1,2\n3,"x\n' + "y\n" * (1 << 17) + '"\n')[1]
    assert rows[1].error.startswith("has an unclosed quote, or one inside a cell")
    assert rows[2].values == {"a": "y"}


@pytest.mark.parametrize(
    ("content", "start", "notes"),
    [
        (
            "问题,答案\nQuestion,Answer\nq1,a1\n",
            3,
            ("record 2 is skipped: it repeats the headers and is not a sample",),
        ),
        (
            "id,问题,答案\nNo.,Question,Answer\n1,q1,a1\n",
            3,
            ("record 2 is skipped: it repeats the headers and is not a sample",),
        ),
        ("question,answer\n---,---\nq1,a1\n", 3, ("record 2 is skipped: it is a line of dashes, not a sample",)),
        ("question|answer\n--------+-------\nq1|a1\n", 3, ("delimiter `|`", "record 2 is skipped: it is a line")),
        ("问题,答案\nq,a\n", 2, ()),
        ("question,answer\nquestion,yes\n", 2, ()),
    ],
)
def test_a_second_row_of_headers_is_no_sample(content, start, notes):
    found, rows = table(content)
    assert [row.where.row for row in rows][:1] == [start]
    assert len(found.notes) == len(notes)
    assert all(map(str.startswith, found.notes, notes))


def test_headers_of_another_table_are_errors_of_their_row():
    content = (
        "id,question,answer\n1,q1,a1\n\nid,question,answer\n2,q2,a2\nno,Question,Answer\n--,---,---\n3,question,yes\n"
    )
    assert [(row.where.row, row.error) for row in table(content)[1] if row.error] == [
        (4, "repeats the headers and is not a sample"),
        (6, "repeats the headers and is not a sample"),
        (7, "is a line of dashes, not a sample"),
    ]


def test_headers_that_may_be_data_are_asked_about_where_columns_are_meant_by_place():
    for content in ("你好,我很好\n再见,好的\n", "1,2\n3,4\n", "好,1\n坏,0\n也好,1\n"):
        found, _ = table(content)
        assert [*found.unsure.answers.values()] == [["--header-row", "none"], ["--header-row", "1"]]
        assert "if it is data, add `--header-row none`" in found.notes[-1]
        for row in (0, 1):
            found, rows = table(content, header_row=row)
            assert (found.unsure, found.notes, len(rows)) == (None, (), content.count("\n") - row)


@pytest.mark.parametrize(
    "content",
    [
        "词,数\n好,1\n坏,0\n",
        "问题,回应者\n你好,我很好\n",
        "q_text,q_label\nx,y\n",
        "词,意\n好," + "很长的解释" * 9 + "\n",
    ],
)
def test_headers_unlike_the_rows_are_not_doubted(content):
    found, _ = table(content)
    assert (found.unsure, found.asks, found.notes) == (None, None, ())


def test_headers_recognised_in_what_may_be_data_are_asked_about():
    found, _ = table("Word,Grade,Meaning\napple,B,a fruit\nreview,A,look again\ntext,A,words\n")
    assert [*found.asks.answers.values()] == [["--header-row", "1"], ["--header-row", "3"]]
    assert table("Word,Grade,Meaning\nreview,A,look again\n", header_row=1)[0].asks is None


@pytest.mark.parametrize(
    ("name", "head", "taken"),
    [
        ("a.csv", b"anything", True),
        ("a.TSV.gz", b"anything", True),
        ("standard input", b"a,b\n1,2\n", True),
        ("standard input", "a;b\n药;2\n".encode("utf-16"), True),
        ("standard input", b"some, text\nmore text\n", False),
        ("a.csv", b'[{"a": 1}]', False),
        ("a.csv", b'{"a": 1}\n', False),
        ("a.csv", b"PK\x03\x04\x14\x00\x06\x00\x08\x00", False),
        ("a.json", b"a,b\n1,2\n", False),
    ],
)
def test_csv_is_detected_by_content_before_the_name(name, head, taken):
    assert source.detect(Path(name), head) is taken


# What each file holds: the number of its rows and the last of them.
AGATE = {
    "exonerations-20150828.csv": (1651, {"last_name": "Zomber", "age": "53"}),
    "test.csv": (3, {"number": "", "text": "b"}),
    "test_cr.csv": (3, {"number": "", "text": "b"}),
    "test_crlf.csv": (3, {"number": "", "text": "b"}),
    "test_csv_sniff.csv": (3, {"number": "", "text": "b"}),
    "test_latin1.csv": (2, {"a": "4", "c": "©"}),
    "test_no_header.csv": (2, {}),  # the last is empty
    "test_quote_nonnumeric.csv": (3, {"number": "", "text": "b"}),
    "test_utf16_big.csv": (2, {"a": "4", "c": "ʤ"}),
    "test_utf16_little.csv": (2, {"a": "4", "c": "ʤ"}),
    "testfixed_converted.csv": (4, {"text": "Row with blanks", "date": ""}),
    "testfixed_schema.csv": (8, {"column": "empty_column", "start": "77"}),
}


def test_csv_files_of_agate_are_read_right(public_data):
    paths = sorted((public_data.folder / "messy_csv" / "agate").glob("*.csv"))
    assert paths
    for path in paths:
        if path.name == "empty.csv":
            with pytest.raises(InputError, match="holds no records"):
                table(path.read_bytes())
            continue
        count, last = AGATE[path.name]
        rows = table(path.read_bytes())[1]
        assert (len(rows), any(row.error for row in rows)) == (count, False), path.name
        assert last.items() <= rows[-1].values.items(), path.name


def test_csv_spectrum_files_are_read_right(public_data):
    folder = public_data.folder / "messy_csv" / "csv-spectrum"
    paths = sorted((folder / "csvs").glob("*.csv"))
    assert paths
    for path in paths:
        expected = json.loads((folder / "json" / f"{path.stem}.json").read_text("utf-8"))
        if path.name == "newlines_crlf.csv":  # the copy has lost what its name says
            expected[1]["a"] = expected[1]["a"].replace("\r", "")
        assert values(path.read_bytes()) == expected, path.name


def test_csvs_of_the_seeds_are_read_right(public_data):
    _, reviews = table((public_data.folder / "chnsenticorp" / "ChnSentiCorp_htl_all.csv").read_bytes())
    assert len(reviews) == public_data.rows["chnsenticorp"]
    assert not any(row.error for row in reviews)
    assert [row.where.row for row in reviews if not row.values["review"]] == [public_data.row["chnsenticorp"] + 1]
    found, tweets = table((public_data.folder / "raft" / "train.csv").read_bytes())
    assert (found.columns, len(tweets)) == (("Tweet text", "Label", "ID"), public_data.rows["raft"])
    assert {row.values["Label"] for row in tweets} == {"complaint", "no complaint"}


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ('question,answer\nhi?,"hello"\nso?,"hello"\ntable?,"x:\na,b\nc,d"\n', ["hello", "hello", "x:\na,b\nc,d"]),
        ('question,answer\nlist?,"x:\na,b\nc,d"\nso?,"yes, it is"\n', ["x:\na,b\nc,d", "yes, it is"]),
    ],
    ids=["most of the column is in quotes", "quotes are needed elsewhere"],
)
def test_a_cell_of_several_lines_stays_whole_where_quotes_are_meant(folder, text, answers):
    (folder / "faq.csv").write_text(text, encoding="utf-8")
    (table,) = source.open_tables(folder / "faq.csv", Reading())
    assert [row.values["answer"] for row in table.rows()] == answers


def test_an_index_that_pandas_wrote_is_no_answer(folder):
    (folder / "faq.csv").write_text(",text,label\n0,good,pos\n1,bad,neg\n", encoding="utf-8")
    (table,) = source.open_tables(folder / "faq.csv", Reading())
    assert columns_by_field(table.columns) == {"instruction": ["text"], "output": ["label"]}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("string,string,string", "gives the types of the columns"),
        ("\u5fc5\u586b,\u5fc5\u586b,\u9009\u586b", "gives the types of the columns"),
        ("(required),(required),(optional)", "gives the types of the columns"),
    ],
)
def test_a_row_that_says_what_follows_is_no_sample(folder, second, said):
    (folder / "faq.csv").write_text(f"question,answer,tag\n{second}\nwhy?,because,x\n", encoding="utf-8")
    (table,) = source.open_tables(folder / "faq.csv", Reading())
    assert [row.values["question"] for row in table.rows()] == ["why?"]
    assert said in " ".join(table.notes)
