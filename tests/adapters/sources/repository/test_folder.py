"""Folders of data files, and local datasets in Hugging Face's layout."""

import gzip
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftbridge.adapters.sources.columnar import arrow
from ftbridge.adapters.sources.detection import open_path, source_of
from ftbridge.adapters.sources.repository import folder
from ftbridge.core.errors import InputError
from ftbridge.core.records import Reading

READING = Reading()
CARD = """---
configs:
- {config_name: cats, data_files: cats/*}
- {config_name: dogs, data_files: dogs/*}
---
"""
LABELS = """---
dataset_info:
  features:
  - {name: label, dtype: {class_label: {names: {'0': neg, '1': pos}}}}
---
"""


def put(root, **files):
    """Write files of one row each, named with `__` for a slash."""
    for name, row in files.items():
        path = root / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n")


def opened(root):
    return [(table.part, table.file, [str(row.where) for row in table.first]) for table in open_path(root, READING)]


def values(table):
    from ftbridge.adapters.values import decode_raw

    return [
        {key: decode_raw(value) for key, value in row.values.items()} for piece in table.pieces for row in piece.rows()
    ]


def test_all_files_are_read_in_natural_order_whatever_their_format(tmp_path):
    put(tmp_path, a10={"q": 1}, a9={"q": 2})
    pq.write_table(pa.table({"q": [3]}), tmp_path / "b.parquet")
    (tmp_path / "c.json").write_text('[{"q": 4}]')
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"q": 5}\n'))
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / ".hidden.jsonl").write_text("{")
    assert source_of(tmp_path) is folder
    tables = open_path(tmp_path, READING)
    assert [table.file for table in tables] == ["a9.jsonl", "a10.jsonl", "b.parquet", "c.json", "d.jsonl.gz"]
    assert {table.part for table in tables} == {""}
    assert [values(table) for table in tables] == [[{"q": number}] for number in (2, 1, 3, 4, 5)]


def test_splits_are_parts_and_equal_names_are_told_apart(tmp_path):
    put(tmp_path, train__a={"q": 1}, train__b={"q": 2}, dev__a={"q": 3}, other={"q": 4})
    first, *_ = open_path(tmp_path, READING)
    assert first.notes == ("skipped files that belong to no split: other.jsonl",)
    assert opened(tmp_path) == [
        ("train", "train/a.jsonl", ["train/a.jsonl line 1"]),
        ("train", "b.jsonl", ["b.jsonl line 1"]),
        ("validation", "dev/a.jsonl", ["dev/a.jsonl line 1"]),
    ]


def test_a_split_that_is_no_part_is_asked_for_by_file(tmp_path):
    put(tmp_path, **{"data__train-00000-of-00001": {"q": 1}, "data__extra-00000-of-00001": {"q": 2}})
    with pytest.raises(InputError, match=r"`extra` is not train, .*data/extra-00000-of-00001.jsonl`"):
        open_path(tmp_path, READING)


def test_a_card_names_the_labels_of_any_format(tmp_path):
    put(tmp_path, train={"q": "a", "label": 1}, test={"q": "b", "label": 9})
    (tmp_path / "README.md").write_text(LABELS)
    train, test = open_path(tmp_path, READING)
    assert train.first[0].values["label"] == "pos"
    assert test.first[0].error.startswith("holds the label 9")
    pieces = pickle.loads(pickle.dumps(list(train.pieces)))
    assert [row.values["label"] for piece in pieces for row in piece.rows()] == ["pos"]


def test_several_datasets_are_not_mixed(tmp_path):
    put(tmp_path, cats__a={"q": 1}, dogs__a={"q": 2})
    (tmp_path / "README.md").write_text(CARD)
    with pytest.raises(InputError, match=r"several datasets: `cats` \(cats/a.jsonl ...\), `dogs`"):
        open_path(tmp_path, READING)
    assert opened(tmp_path / "cats") == [("", "a.jsonl", ["a.jsonl line 1"])]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "it is empty"),
        (["a.txt", ".gitattributes", "x.png"], r"can be read: `a.txt`, `x.png`$"),
        (["imdb.py"], "`imdb.py`; dataset scripts are not run"),
        ([f"{number}.txt" for number in range(7)], "and 2 more"),
    ],
)
def test_a_folder_without_data_is_one_sentence(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=message):
        open_path(tmp_path, READING)


def test_a_script_beside_data_is_not_run(tmp_path):
    put(tmp_path, train={"q": 1})
    (tmp_path / "faq.py").write_text("raise SystemExit('it ran')")
    assert [part for part, *_ in opened(tmp_path)] == ["train"]


def test_a_broken_file_is_named(tmp_path):
    put(tmp_path, a={"q": 1})
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"b\.parquet` cannot be read"):
        open_path(tmp_path, READING)


def test_folder_saved_by_datasets_is_left_to_the_arrow_source(tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert source_of(tmp_path) is arrow
