"""Folders saved by `datasets`, and Arrow files."""

import json
import pickle
import struct
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given

from ftbridge.adapters.sources.columnar import arrow, batches
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import Reading

from ....builders.columnar import COLUMNS, READING, SHARDS, assert_values, read  # noqa: TID252

LABEL = {"names": ["neg", "pos"], "_type": "ClassLabel"}


def save(folder, *shards, features=None):
    """Write what `Dataset.save_to_disk` writes: one arrow stream a shard and two JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{at:05}-of-{len(shards):05}.arrow" for at in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write(folder / name, pa.table(shard), size=1000)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder


def write(path, table, *, new=pa.ipc.new_stream, size=None, compression=None):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, size)
    return path


@given(SHARDS)
@example([["x"] * 2500, ["y"] * 10])
def test_what_goes_in_comes_out(shards):
    with tempfile.TemporaryDirectory() as scratch:
        saved = save(Path(scratch) / "saved", *({"q": pa.array(values, pa.string())} for values in shards))
        table, rows = read(arrow.open_tables(saved, READING))
    assert table.columns == ("q",)
    assert table.cut
    assert [row.values["q"] for row in rows] == [value for values in shards for value in values]
    assert not rows or rows[-1].where.cell("").startswith("row ")


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_both_formats_are_told_by_their_content(folder, new, compression):
    table = pa.table({name: array for name, (array, _) in COLUMNS.items()})
    path = write(folder / "data", table, new=new, compression=compression)
    assert arrow.detect(path, path.read_bytes()[:100])
    found, rows = read(arrow.open_tables(path, READING))
    assert found.columns == tuple(COLUMNS)
    assert_values(rows)


@pytest.mark.parametrize("size", [1, 7000, None])
def test_large_files_are_cut_and_large_batches_too(folder, size):
    texts = [f"{number} {'文' * 100}" for number in range(7000 if size else 20_000)]
    path = write(folder / "data.arrow", pa.table({"q": texts}), size=size)
    (table,) = arrow.open_tables(path, READING)
    pieces = list(table.pieces)
    assert len(pieces) > 1
    pieces = pickle.loads(pickle.dumps(pieces))
    # Each is read alone, in any order.
    found = [[row.values["q"] for row in piece.rows()] for piece in reversed(pieces)]
    assert [text for each in reversed(found) for text in each] == texts


def test_dictionaries_keep_a_file_whole(folder):
    path = write(folder / "data.arrow", pa.table({"q": pa.array(["a", "b", "a"]).dictionary_encode()}), size=1)
    table, rows = read(arrow.open_tables(path, READING))
    assert not table.cut
    assert [row.values["q"] for row in rows] == ["a", "b", "a"]
    path = write(folder / "numbers.arrow", pa.table({"q": pa.array([7, 8, 7]).dictionary_encode()}))
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values["q"] for row in rows] == [7, 8, 7]


def test_a_selection_of_rows_that_old_versions_saved_is_refused(folder):
    saved = save(folder / "saved", {"q": ["a", "b"]})
    state = json.loads((saved / "state.json").read_text()) | {"_indices_files": [{"filename": "indices.arrow"}]}
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="saved with a selection of its rows"):
        arrow.open_tables(saved, READING)


TEXTS = (pa.array(["a", "b"]), pa.array(["a"]).dictionary_encode(), pa.array([], pa.string()))


@pytest.mark.parametrize("texts", TEXTS)
def test_a_file_may_begin_with_a_schema_without_a_mark_as_polars_writes_it(folder, texts):
    path = write(folder / "data.arrow", pa.table({"q": texts}), new=pa.ipc.new_file)
    data = path.read_bytes()
    path.write_bytes(data[:8] + data[16:24] + data[16:])
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values["q"] for row in rows] == texts.to_pylist()


def test_columns_get_names_that_differ(folder):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "a", ""])
    found, rows = read(arrow.open_tables(write(folder / "data.arrow", table), READING))
    assert found.columns == ("a [A]", "a [B]", "[C]")
    assert rows[0].values == {"a [A]": 1, "a [B]": 2, "[C]": 3}


def test_labels_become_names(folder):
    features = {"label": LABEL, "tags": {"feature": LABEL, "_type": "Sequence"}}
    shard = {"label": [1, 0, None, -1, 2], "tags": [[1, 0], [], None, [0], []]}
    _, rows = read(arrow.open_tables(save(folder / "saved", shard, features=features), READING))
    assert [row.values["label"] for row in rows[:4]] == ["pos", "neg", None, None]
    assert [row.values["tags"] for row in rows[:4]] == [["pos", "neg"], [], None, ["neg"]]
    assert [row.error for row in rows] == [""] * 4 + ["holds the label 2 in `label`, which has names for 0 to 1"]


def test_labels_stand_in_the_file_too(folder):
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": LABEL}}})}
    path = write(folder / "data.arrow", pa.table({"label": [1]}).replace_schema_metadata(metadata))
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


def test_other_splits_are_asked_for_by_folder(folder):
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "unsupervised"]}')
    with pytest.raises(InputError, match=rf"`unsupervised` is none of .*`{folder}/train`, `{folder}/unsupervised`"):
        arrow.open_tables(folder, READING)
    assert arrow.open_tables(save(folder / "unsupervised", {"q": ["x"]}), READING)[0].part == ""


@pytest.mark.parametrize("damage", ["cut", "no end mark", "gone", "no files", "no json", "selection"])
def test_a_damaged_folder_is_one_sentence(folder, damage):
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


def test_no_damage_is_a_traceback_or_a_hang(folder):
    good = write(folder / "good", pa.table({"q": ["text"] * 20, "n": [1] * 20}), compression="zstd").read_bytes()
    path, refused = folder / "bad.arrow", 0
    for at in range(0, len(good), 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            read(arrow.open_tables(path, READING))
        except InputError:
            refused += 1
    assert refused > len(good) / 10


def test_a_batch_that_unpacks_to_too_much_is_refused(folder):
    path = write(folder / "bomb.arrow", pa.table({"q": ["x" * 5000]}), compression="zstd")
    data = path.read_bytes()
    size = struct.pack("<q", 5000)
    assert size in data
    path.write_bytes(data.replace(size, struct.pack("<q", 2 << 30)))
    with pytest.raises(InputError, match="unpacks to 2048 MiB"):
        arrow.open_tables(path, READING)


def test_a_row_that_is_too_large_is_an_error_of_its_own(folder, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 1 << 20)
    path = write(folder / "data.arrow", pa.table({"q": ["a", "x" * (2 << 20), "b"]}))
    _, rows = read(arrow.open_tables(path, READING))
    assert [row.values.get("q") for row in rows] == ["a", None, "b"]
    assert rows[1].error == "is larger than 1 MiB"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_values_that_a_dictionary_repeats_do_not_fill_the_memory(folder, kind):
    values = pa.array(["x" * 200_000, "y" * 200_000], kind).dictionary_encode()
    path = write(folder / "data.arrow", pa.table({"q": values.take(pa.array([0, 1] * 300))}))
    tracemalloc.start()
    (table,) = arrow.open_tables(path, READING)
    assert sum(len(row.values["q"]) for piece in table.pieces for row in piece.rows()) == 120_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000


def test_a_file_that_is_packed_again_is_refused(folder):
    import gzip

    path = write(folder / "data.arrow", pa.table({"q": ["a"]}))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="packed a second time"):
        arrow.open_tables(path, READING)


def test_without_pyarrow_the_sentence_says_what_to_install(folder, monkeypatch):
    saved = save(folder / "saved", {"q": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match="pip install 'ftbridge"):
        arrow.open_tables(saved, READING)


def test_a_sheet_is_refused(folder):
    with pytest.raises(InputError, match="no sheets"):
        arrow.open_tables(folder, Reading(sheets=("Sheet1",)))


@pytest.mark.framework
def test_what_datasets_saves_is_read(folder, training_python):
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
    from ftbridge.adapters.sources.columnar import parquet

    assert [row.values for row in read(parquet.open_tables(folder / "data.parquet", READING))[1]] == expected
