"""Folders saved by `datasets`, and Arrow files."""

import json
import pickle
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given

from ftbridge.adapters.sources.columnar import arrow, parquet
from ftbridge.core.errors import InputError, SetupError

from ....builders.columnar import COLUMNS, READING, SHARDS, assert_values, read, write_arrow  # noqa: TID252

LABEL = {"names": ["neg", "pos"], "_type": "ClassLabel"}


def save(folder, *shards, features=None):
    """Write what `Dataset.save_to_disk` writes: one arrow stream a shard and two JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{at:05}-of-{len(shards):05}.arrow" for at in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_arrow(folder / name, pa.table(shard), size=1000)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder


@given(SHARDS)
@example([["x"] * 2500, ["y"] * 10])
def test_saved_arrow_shards_are_read_back_in_order(shards):
    with tempfile.TemporaryDirectory() as scratch:
        saved = save(Path(scratch) / "saved", *({"q": pa.array(values, pa.string())} for values in shards))
        table, rows = read(arrow.open_tables(saved, READING))
    assert table.columns == ("q",)
    assert table.cut
    assert [row.values["q"] for row in rows] == [value for values in shards for value in values]
    assert not rows or rows[-1].where.cell("").startswith("row ")


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_stream_and_file_are_detected_by_content(folder, new, compression):
    table = pa.table({name: array for name, (array, _) in COLUMNS.items()})
    path = write_arrow(folder / "data", table, new=new, compression=compression)
    assert arrow.detect(path, path.read_bytes()[:100])
    found, rows = read(arrow.open_tables(path, READING))
    assert found.columns == tuple(COLUMNS)
    assert_values(rows)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7000, None])
def test_large_arrow_files_and_batches_are_cut_into_pieces(folder, size):
    texts = [f"{number} {'文' * 100}" for number in range(7000 if size else 20_000)]
    path = write_arrow(folder / "data.arrow", pa.table({"q": texts}), size=size)
    (table,) = arrow.open_tables(path, READING)
    pieces = list(table.pieces)
    assert len(pieces) > 1
    pieces = pickle.loads(pickle.dumps(pieces))
    # Each is read alone, in any order.
    found = [[row.values["q"] for row in piece.rows()] for piece in reversed(pieces)]
    assert [text for each in reversed(found) for text in each] == texts


def test_a_selection_of_rows_that_old_versions_saved_is_refused(folder):
    saved = save(folder / "saved", {"q": ["a", "b"]})
    state = json.loads((saved / "state.json").read_text()) | {"_indices_files": [{"filename": "indices.arrow"}]}
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="saved with a selection of its rows"):
        arrow.open_tables(saved, READING)


def test_arrow_class_labels_become_their_names(folder):
    features = {"label": LABEL, "tags": {"feature": LABEL, "_type": "Sequence"}}
    shard = {"label": [1, 0, None, -1, 2], "tags": [[1, 0], [], None, [0], []]}
    _, rows = read(arrow.open_tables(save(folder / "saved", shard, features=features), READING))
    assert [row.values["label"] for row in rows[:4]] == ["pos", "neg", None, None]
    assert [row.values["tags"] for row in rows[:4]] == [["pos", "neg"], [], None, ["neg"]]
    assert [row.error for row in rows] == [""] * 4 + ["holds the label 2 in `label`, which has names for 0 to 1"]


def test_arrow_class_labels_in_the_schema_become_names(folder):
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": LABEL}}})}
    path = write_arrow(folder / "data.arrow", pa.table({"label": [1]}).replace_schema_metadata(metadata))
    assert read(arrow.open_tables(path, READING))[1][0].values == {"label": "pos"}


def test_a_dict_of_splits_gives_a_table_each(folder):
    for split in ("train", "dev", "test"):
        save(folder / split, {"q": [split]})
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "dev", "test"]}')
    assert arrow.detect(folder, b"")
    tables = arrow.open_tables(folder, READING)
    assert [table.part for table in tables] == ["train", "validation", "test"]
    assert [table.first[0].values["q"] for table in tables] == ["train", "dev", "test"]
    assert str(tables[1].first[0].where) == f"{folder.name}/dev row 1"


@pytest.mark.parametrize("split", ["../other", "/other", "a/b", "..", ""])
def test_a_split_that_leads_out_of_the_folder_is_refused(folder, split):
    (folder / "saved").mkdir()
    (folder / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": [split]}))
    with pytest.raises(InputError, match=f"`{split}` is not a folder in it"):
        arrow.open_tables(folder / "saved", READING)


def test_split_that_is_no_part_is_asked_for_by_its_folder(folder):
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "unsupervised"]}')
    with pytest.raises(InputError, match=rf"`unsupervised` is not train, .*`{folder}/train`, `{folder}/unsupervised`"):
        arrow.open_tables(folder, READING)
    assert arrow.open_tables(save(folder / "unsupervised", {"q": ["x"]}), READING)[0].part == ""


@pytest.mark.parametrize("damage", ["cut", "no end mark", "gone", "no files", "no json", "selection"])
def test_damaged_saved_dataset_is_one_sentence(folder, damage):
    saved = save(folder / "saved", {"q": ["x"] * 5000})
    (file,) = saved.glob("*.arrow")
    data = file.read_bytes()
    if damage in {"cut", "no end mark"}:
        file.write_bytes(data[:2000] if damage == "cut" else data[:-8])
    elif damage == "gone":
        file.unlink()
    elif damage == "no json":
        (saved / "dataset_info.json").write_text("{")
    else:
        state = {"no files": "{}", "selection": '{"_indices_data_files": [{"filename": "x"}]}'}
        (saved / "state.json").write_text(state[damage])
    with pytest.raises(InputError, match=r"is damaged|cannot be read|by an old `datasets`"):
        read(arrow.open_tables(saved, READING))


def test_damaged_arrow_file_is_read_or_refused_without_a_traceback(folder):
    good = write_arrow(folder / "good", pa.table({"q": ["text"] * 20, "n": [1] * 20}), compression="zstd").read_bytes()
    path, refused = folder / "bad.arrow", 0
    for at in range(0, len(good), 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            read(arrow.open_tables(path, READING))
        except InputError:
            refused += 1
    assert refused > len(good) / 10


@pytest.mark.framework
def test_folders_saved_by_datasets_are_read(folder, training_python):
    import subprocess

    script = (
        "from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value\n"
        "label = ClassLabel(names=['neg', 'pos'])\n"
        "features = Features({'text': Value('string'), 'label': label, 'tags': Sequence(label)})\n"
        "values = {'text': [f'text {n}' for n in range(10)], 'label': [0, 1] * 5, 'tags': [[0, 1]] * 10}\n"
        "data = Dataset.from_dict(values, features)\n"
        "data.save_to_disk('saved', num_shards=3)\n"
        "data.filter(lambda row: row['label']).save_to_disk('filtered')\n"
        "DatasetDict(train=data, test=data.select([3])).save_to_disk('splits')\n"
        "data.to_parquet('data.parquet')\n"
    )
    subprocess.run([training_python, "-c", script], cwd=folder, check=True, capture_output=True)
    expected = [{"text": f"text {n}", "label": ["neg", "pos"][n % 2], "tags": ["neg", "pos"]} for n in range(10)]
    assert [row.values for row in read(arrow.open_tables(folder / "saved", READING))[1]] == expected
    assert [row.values for row in read(arrow.open_tables(folder / "filtered", READING))[1]] == expected[1::2]
    train, test = arrow.open_tables(folder / "splits", READING)
    assert [row.values for row in train.first] == expected
    assert [row.values for row in test.first] == [expected[3]]

    assert [row.values for row in read(parquet.open_tables(folder / "data.parquet", READING))[1]] == expected


def test_missing_pyarrow_is_refused_with_the_install_command(folder, monkeypatch):
    saved = save(folder / "saved", {"q": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match=r"`pip install '\.\[arrow\]'`"):
        arrow.open_tables(saved, READING)
