"""The reading process; what it reads is tested with the source."""

import os

import openpyxl
import pytest

from ftbridge.adapters.sources.workbook import reader
from ftbridge.adapters.sources.workbook.reader import (
    Batch,
    Order,
    OutOfMemoryError,
    Page,
    Sheets,
    fill_merged_cells,
    messages,
)
from ftbridge.core.errors import InputError


def test_merged_cells_get_the_value_of_the_first():
    rows = [["a", "b"], [], ["c"], ["d", 1.0, "e"]]
    assert list(fill_merged_cells(rows, [(1, 1, 3, 1), (3, 2, 4, 4)])) == [
        ["a", "b"],
        ["a"],
        ["a", "", "", ""],
        ["d", "", "", ""],
    ]


def order(path, **options):
    return Order(str(path), named=True, **{"engine": "calamine", **options})


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["calamine", "openpyxl", "shown"])
def test_each_engine_sends_sheets_pages_and_rows(workbook, engine):
    path = workbook(One=[[], [], ["a"], [None, "b", None]], Two=[], Three=[["c"]] * 600)
    sent = list(messages(order(path, engine=engine)))
    assert [message if isinstance(message, Sheets) else type(message) for message in sent] == [
        *(Sheets({"One": True, "Two": True, "Three": True}), Page, Batch, Page, Page, Batch)
    ]
    assert sent[1:3] == [Page("One", 3), Batch([["a"], ["", "b"]])]
    assert (sent[4].more, len(sent[5].rows)) == (True, 250)
    whole = list(messages(order(path, engine=engine, sheets=("Three",))))
    assert [len(message.rows) for message in whole[2:]] == [250, 250, 100]


def test_workbook_with_an_undecodable_name_is_read(workbook, folder):
    path = workbook(Q=[["a"]]).rename(os.fsdecode(os.fsencode(folder) + b"/\xff'.xlsx"))
    assert list(messages(order(path)))[2:] == [Batch([["a"]])]


def test_a_process_that_needs_too_much_memory_is_told(folder):
    book = openpyxl.Workbook()
    book.active["A1"] = book.active["XFD1048576"] = "x"
    book.save(folder / "faq.xlsx")
    with pytest.raises(OutOfMemoryError, match="more memory than a workbook of its size should"):
        list(messages(order(folder / "faq.xlsx")))


def test_workbook_that_ends_the_reading_process_is_one_sentence(folder):
    (folder / "faq.xlsx").write_bytes(b"PK\3\4")
    with pytest.raises(InputError, match=r"`.*faq.xlsx` is a damaged workbook \(.*\); open it") as error:
        list(messages(order(folder / "faq.xlsx")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("python_calamine.PasswordError: Workbook is password protected", "is encrypted"),
        ("thread panicked\nnote: run\npyo3_runtime.PanicException: index out of range\n", "index out of range"),
        ("python_calamine.XmlError: sst", r"\(sst\)"),
        ("", "its reader crashed"),
    ],
)
def test_last_line_of_a_failed_reader_is_the_reason(output, message):
    with pytest.raises(InputError, match=message):
        raise reader._reader_error(order("faq.xlsx"), output)
    with pytest.raises(
        InputError, match="is encrypted" if "password" in output else "cannot be read with `--as-shown`"
    ):
        raise reader._reader_error(order("faq.xlsx", engine="shown"), output)
