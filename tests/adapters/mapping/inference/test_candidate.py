"""Every shape that people bring is read, asked about, or refused by name, and docs/data.md says which."""

import re

import pytest

from ... import shapes  # noqa: TID252


@pytest.mark.parametrize("entry", shapes.SHAPES, ids=lambda entry: entry["shape"])
def test_shape_of_the_docs_is_read_asked_about_or_refused_as_documented(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, made = shapes.outcome(entry)
    kind = re.split(r"\W", said)[0]
    assert kind in entry, made
    if kind == "refused":
        assert re.search(re.escape(entry["refused"]), made)
    else:
        assert made == entry[kind]


@pytest.mark.parametrize("name", shapes.TABLES)
def test_table_of_shapes_in_the_docs_is_up_to_date(name):
    whole = f"<!-- {name} -->\n{shapes.TABLES[name]()}<!-- end of {name} -->"
    assert whole in shapes.DOCS.read_text(encoding="utf-8"), "write it anew: python -m tests.adapters.shapes"
