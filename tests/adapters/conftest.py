"""What the tests of the data adapters share."""

import json

import pytest

from ..builders.hub_server import hub_server  # noqa: TID252


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


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a dataset `owner/faq` of JSON lines with two splits; the clients keep their files in `tmp_path`."""
    from huggingface_hub import constants
    from modelscope_hub import _legacy_api

    with hub_server(tmp_path, monkeypatch) as server:
        # Read from the environment when they are imported; a test below does so.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
        monkeypatch.setattr(_legacy_api, "REPO_TREE_PAGE_MAX_ATTEMPTS", 1)
        root = server.add("owner/faq")
        (root / "train.jsonl").write_text('{"q": "a"}\n{"q": "b"}\n')
        (root / "test.jsonl").write_text('{"q": "c"}\n')
        yield server
