"""Lines of a terminal: where they are broken, and where never."""

import pytest
from rich.cells import cell_len

from ftbridge.core.console.wrapping import cut, wrap, wrap_lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("no longer than that", ["no longer", "than that"]),
        ("run `ftbridge merge --to x` then", ["run", "`ftbridge merge --to x`", "then"]),
        ("a word-of-many-letters is whole", ["a", "word-of-many-letters", "is whole"]),
        ("a word-of-many-letters", ["a", "word-of-many-letters"]),
        ("样本在合并后一致，文件夹也一致", ["样本在合并", "后一致，文", "件夹也一致"]),
        ("样本在合并后，一致", ["样本在合并", "后，一致"]),
        ("样本在合（并）后", ["样本在合", "（并）后"]),
        ("the odd ` and more", ["the odd `", "and more"]),
    ],
)
def test_a_text_is_broken_between_words_and_chinese_between_characters(text, lines):
    assert wrap(text, 11) == lines


def test_the_last_column_goes_on_under_itself():
    assert wrap_lines("ok       disk: as much as is\n         -> make room on the disk", 30) == (
        "ok       disk: as much as is\n         -> make room on the\n            disk"
    )
    assert wrap_lines("warning  disk: there is little left of it", 30) == (
        "warning  disk: there is little\n         left of it"
    )


@pytest.mark.parametrize(
    "line",
    [
        "  ftbridge convert medqa.xlsx --split 7:3 --to xtuner",
        "one\tof many columns, which a tab has set apart",
        "a first column that leaves no room  for the last",
    ],
)
def test_what_may_be_a_command_or_has_no_room_stays_as_it_is(line):
    assert wrap_lines(line, 30) == line


def test_a_text_is_cut_to_columns_of_a_terminal():
    assert [cut("short", 9), cut("阿司匹林是什么", 9)] == ["short", "阿司匹林…"]
    assert cell_len(cut("阿司匹林是什么", 9)) == 9
