"""Dialects found."""

import pytest

from ftbridge.adapters.sources.text.csv_dialect import Dialect, find_dialect, is_delimited


def found(text, **how):
    return find_dialect(text.splitlines(keepends=True), **how)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a,b\n1,2\n", Dialect()),
        ("a;b\n1,5;2,5\n", Dialect(";")),
        ("a\tb\nx, y\tz\n", Dialect("\t")),
        ("a|b\n1|2\n", Dialect("|")),
        ("question,answer\nwhy, oh why,because\nhow,so\n", Dialect()),
        ('a,b\n"x;y;z",1\n"x;y;z",2\n', Dialect()),
        ("one\ntwo\n", Dialect("")),
        ("text\nso, it is\nyes\nno, it is not, is it\n", Dialect("")),
        ('a,b\n1,"x \\"y\\", z"\n', Dialect(escape="\\")),
        ('a,b\n1,C:\\new\n2,"C:\\"\n', Dialect()),
        ("'a','b'\n'x, y','z'\n", Dialect(quote="'")),
        ("a,b\n'tis,it's\n", Dialect()),
        ('a\tb\n"x\ty\nz"\t"v" w\n', Dialect("\t", "")),
        ('a, b\n1, "x, y"\n', Dialect(skip_initial_space=True)),
        # Quotes of no meaning: with them lines are lost, or bad.
        ('a\tb\n"x\t1\ny\t0\nz"\t1\nv\t0\n', Dialect("\t", "")),
        ('a,b\n"x,1\ny,0\nz",1\nv,0\n', Dialect(quote="")),
        ('a,b\n"x,1\nz",0\nv,1\n', Dialect(quote="")),
        ('a\tb\n"all of it"\t1\n"a part" of it\t0\n', Dialect("\t", "")),
        ("a\tb\n" + '"x" y\tz\n' * 9 + "1\n", Dialect("\t", "")),
        # Quotes of cells with lines: prose has commas too.
        ('a,b\n"x, y\nz",1\nv,0\n', Dialect()),
        ('a,b\n"x,y\nz",so\nv,0\n', Dialect()),
        ('a,b\n"Roses are red,\nviolets are blue,\nso.",poem\nv,0\n', Dialect()),
        ('a,b\n"x\ny"\n"v\nw",1\n' * 5, Dialect()),
        ("a\n" + '"x\ny"\n' * 5 + '"z" v\n', Dialect("")),
        # Most cells of a column have quotes, or they are doubled: a bad one is a mistake.
        ('"a","b"\n"x","1"\n"y","0"\n"z" v,"1"\n', Dialect()),
        ('a,b\nx,"say ""y"" now"\ny,"say ""no"" now"\nv,"w" x\n', Dialect()),
        ('a,b\n1," ""x"" or ""y"""\n', Dialect()),
        ("sep=|\na,b|c\n", Dialect("|")),
        ("", Dialect("")),
    ],
)
def test_csv_dialect_is_found_by_trying(text, dialect):
    assert found(text) == dialect


def test_a_null_as_mysql_writes_it_is_empty():
    lines = ["\\N,b\n", '"x \\"\\N\\"",\\N\r\n', "a\\,b,\\N\n"]
    assert [*Dialect(escape="\\").records(lines)] == [["", "b"], ['x "N"', ""], ["a,b", ""]]
    assert [*Dialect("", escape="\\").records(["a,\\n", "\\N\n"])] == [["a,n"], [""]]
    assert [*Dialect().records(["\\N,b\n", r"\N x,\N"])] == [["", "b"], [r"\N x", ""]]
    quoted = ['"\\N","x,\\N,y"\n', '"x,\n', "\\N,\n", 'y",\\N\n']
    assert [*Dialect().records(quoted)] == [[r"\N", r"x,\N,y"], ["x,\n\\N,\ny", ""]]
    assert [*Dialect("\t", "").records(["\\N\t\\N\n"])] == [["", ""]]
    assert [*Dialect(skip_initial_space=True).records([r'a, \N, "\N"'])] == [["a", "", r"\N"]]


@pytest.mark.parametrize(
    ("asked", "dialect"),
    [
        ({"delimiter": "^"}, Dialect("^")),
        ({"delimiter": ";"}, Dialect(";")),
        ({"quote": ""}, Dialect(quote="", sure=True)),
        ({"quote": "|"}, Dialect(quote="|", sure=True)),
        ({"delimiter": " ", "quote": '"'}, Dialect(" ", sure=True)),
    ],
)
def test_delimiter_and_quote_asked_for_are_taken(asked, dialect):
    assert found("a,b\n1,2\n", **asked) == dialect


def test_quotes_that_are_asked_for_may_take_lines_in():
    text = 'a,b\n"x,1\ny,0\nz",1\nv,0\n'
    assert [*found(text, quote='"').records(text.splitlines(keepends=True))][1] == ["x,1\ny,0\nz", "1"]


def test_tie_between_delimiters_goes_to_that_of_the_suffix():
    assert found("a\tb,c\n1\t2,3\n") == Dialect()
    assert found("a\tb,c\n1\t2,3\n", first="\t") == Dialect("\t")


def test_the_last_record_of_a_beginning_may_be_cut():
    assert found('a,b\n1,"x\n', cut=True) == Dialect()


def test_unusual_dialect_is_told_in_a_note():
    assert Dialect().note == ""
    assert Dialect("\t", "").note == "delimiter tab, no quotes"
    assert Dialect("", "'", "\\").note == "one column (set `--delimiter` if there are more), quotes ', escapes \\"
    assert Dialect(" ").note == "delimiter space"


def test_a_table_is_told_from_text():
    assert is_delimited(["a,b\n", "1,2\n"])
    assert not is_delimited(["a,b\n"])
    assert not is_delimited(["Dear all,\n", "this, that, and more\n", "bye\n"])


def test_broken_csv_records_give_none_and_the_next_is_read():
    assert list(Dialect().records(['"a" b\n', "c,d\n", '"e\n'])) == [None, ["c", "d"], None]
    assert list(Dialect().records(['"a\n', "c,d\n", "e,f\n", '"g" h\n', "i,j\n"])) == [
        None,
        ["c", "d"],
        ["e", "f"],
        None,
        ["i", "j"],
    ]
