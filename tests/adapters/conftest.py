"""What the tests of the data adapters share."""

import json

import pytest
from hypothesis import HealthCheck, settings

# The first drawing of text builds a table of all characters, and files take their time.
settings.register_profile("files", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("files")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workbook(folder):
    """Return a function that writes sheets of rows as an .xlsx file and returns its path."""
    from openpyxl import Workbook

    def write(name="faq.xlsx", **sheets):
        book = Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(folder / name)
        book.close()
        return folder / name

    return write


@pytest.fixture
def lines(folder):
    """Return a function that writes records as JSON lines and returns the file's path."""

    def write(*records, name="faq.jsonl"):
        path = folder / name
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
        return path

    return write
