"""Folders saved by `datasets`."""

import json
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.sources import arrow
from ftbridge.core.errors import InputError, SetupError

VALUES = st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=5)


def save(folder, *shards, features=None):
    """Write what `Dataset.save_to_disk` writes: one arrow stream a shard and two JSON files."""
    folder.mkdir(exist_ok=True)
    names = [f"data-{at:05}-of-{len(shards):05}.arrow" for at in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        table = pa.table(shard)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder


@given(VALUES, VALUES)
def test_what_goes_in_comes_out(first, second):
    with tempfile.TemporaryDirectory() as scratch:
        shards = [{"q": pa.array(values, pa.string())} for values in (first, second)]
        table = arrow.open_table(save(Path(scratch) / "saved", *shards), None)
        rows = list(table.rows)
    assert table.columns == ("q",)
    assert [row.values["q"] for row in rows] == [*first, *second]
    assert [row.where.cell("") for row in rows][-1] == f"row {len(rows)}"


def test_labels_become_names(folder):
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "tags": [{"_type": "Value"}]}
    saved = save(folder / "saved", {"label": [1, 0, None, -1], "tags": [["a"], [], None, []]}, features=features)
    rows = list(arrow.open_table(saved, None).rows)
    assert [row.values["label"] for row in rows] == ["pos", "neg", None, -1]


def test_a_dict_of_splits_is_refused_with_their_folders(folder):
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert arrow.detect(folder, b"")
    with pytest.raises(InputError, match=r"several splits.*/train`, `.*/test`"):
        arrow.open_table(folder, None)


@pytest.mark.parametrize("damage", ["cut", "gone", "no files", "no json"])
def test_a_damaged_folder_is_one_sentence(folder, damage):
    saved = save(folder / "saved", {"q": ["x"] * 1000})
    (file,) = saved.glob("*.arrow")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "gone":
        file.unlink()
    elif damage == "no files":
        (saved / "state.json").write_text("{}")
    else:
        (saved / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        list(arrow.open_table(saved, None).rows)


def test_without_pyarrow_the_sentence_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match="pip install 'ftbridge"):
        arrow.open_table(save(folder / "saved", {"q": ["x"]}), None)


def test_a_sheet_is_refused(folder):
    with pytest.raises(InputError, match="no sheets"):
        arrow.open_table(folder, "Sheet1")


@pytest.mark.framework
def test_what_datasets_saves_is_read(folder, training_python):
    import subprocess

    script = (
        "from datasets import ClassLabel, Dataset, Features, Value\n"
        "features = Features({'text': Value('string'), 'label': ClassLabel(names=['neg', 'pos'])})\n"
        "data = Dataset.from_dict({'text': [f'text {n}' for n in range(10)], 'label': [0, 1] * 5}, features)\n"
        "data.save_to_disk('saved', num_shards=3)\n"
    )
    subprocess.run([training_python, "-c", script], cwd=folder, check=True, capture_output=True)
    rows = [row.values for row in arrow.open_table(folder / "saved", None).rows]
    assert rows == [{"text": f"text {n}", "label": ["neg", "pos"][n % 2]} for n in range(10)]
