"""Every shape that people bring is read, asked about, or refused by name, and docs/shapes.md says which."""

import re

import pytest

from . import shapes


@pytest.mark.parametrize("entry", shapes.SHAPES, ids=lambda entry: entry["shape"])
def test_what_comes_of_a_shape(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, made = shapes.outcome(entry)
    kind = re.split(r"\W", said)[0]
    assert kind in entry, made
    if kind == "refused":
        assert re.search(re.escape(entry["refused"]), made)
    else:
        assert made == entry[kind]


@pytest.mark.parametrize("name", shapes.TABLES)
def test_the_table_in_the_docs_is_this_one(name):
    whole = f"<!-- {name} -->\n{shapes.TABLES[name]()}<!-- end of {name} -->"
    assert whole in shapes.DOCS.read_text(encoding="utf-8"), "write it anew: python -m tests.adapters.shapes"
