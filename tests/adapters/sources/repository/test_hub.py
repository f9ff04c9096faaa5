"""Datasets of hubs: the real clients against a server on this machine that speaks the hubs' protocols."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.convert.samples import workers
from ftbridge.adapters.sources.repository import hub
from ftbridge.adapters.values import decode_raw
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import Reading

READING = Reading()
HUBS = pytest.mark.parametrize("scheme", ["hf", "ms"])
# As of the dataset ought/raft, whose files only its script could read.
COMPLAINTS = {"names": ["Unlabeled", "complaint", "no complaint"], "_type": "ClassLabel"}


def put(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            lines = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            path.write_text(lines)


def opened(url):
    """Return part, and the rows' values, of each table."""
    return [
        (
            table.part,
            [
                {key: decode_raw(value) for key, value in row.values.items()}
                for piece in table.pieces
                for row in piece.rows()
            ],
        )
        for table in hub.open_url(url, READING)
    ]


@HUBS
def test_splits_of_a_hub_become_parts_and_a_single_split_the_whole(server, scheme):
    assert opened(f"{scheme}://owner/faq") == [("train", [{"q": "a"}, {"q": "b"}]), ("test", [{"q": "c"}])]
    assert opened(f"{scheme}://owner/faq@test") == [("", [{"q": "c"}])]
    assert opened(f"{scheme}://owner/faq:default@train") == [("", [{"q": "a"}, {"q": "b"}])]


@HUBS
def test_tables_of_a_hub_tell_their_revision(server, scheme):
    def revision():
        return {table.revision for table in hub.open_url(f"{scheme}://owner/faq", READING)}

    before = revision()
    assert before == revision()
    assert len(before) == 1
    assert "" not in before
    put(server.folder / "owner/faq", {"test.jsonl": [{"q": "another"}]})
    assert before != revision() or scheme == "hf"  # the commit, which stays that of the server's folder


@HUBS
def test_split_asked_for_is_the_only_one_fetched_and_only_once(server, scheme):
    put(server.folder / "owner/faq", {"picture.png": "x", "sub/more.csv": "a,b"})
    (table,) = hub.open_url(f"{scheme}://owner/faq@test", READING)
    assert set(server.asked) == {"test.jsonl"}
    assert table.notes == ("skipped files that belong to no split: sub/more.csv",)
    hub.open_url(f"{scheme}://owner/faq@test", READING)
    assert server.asked == ["test.jsonl"]


@HUBS
def test_a_config_of_several_is_asked_for(server, scheme):
    card = "---\nconfigs:\n- {config_name: cats, data_files: c/*}\n- {config_name: dogs, data_files: d/*}\n---\n"
    files = {"README.md": card, "c/a.jsonl": [{"q": "cat"}], "d/a.jsonl": [{"q": "dog"}]}
    put(server.add("owner/pets"), files)
    assert opened(f"{scheme}://owner/pets:dogs") == [("train", [{"q": "dog"}])]
    with pytest.raises(
        InputError, match=rf"has several configs; .*`{scheme}://owner/pets:cats`, `{scheme}://owner/pets:d"
    ):
        opened(f"{scheme}://owner/pets")
    with pytest.raises(InputError, match="has no config `birds`"):
        opened(f"{scheme}://owner/pets:birds")
    with pytest.raises(InputError, match=rf"has no split `test`; .*`{scheme}://owner/pets:cats@train`"):
        opened(f"{scheme}://owner/pets:cats@test")


@HUBS
def test_labels_of_the_card_get_names(server, scheme):
    card = (
        "---\ndataset_info:\n  features:\n  - {name: label, dtype: {class_label: {names: {'0': neg, '1': pos}}}}\n---\n"
    )
    put(server.add("owner/reviews"), {"README.md": card, "reviews.jsonl": [{"label": 1}, {"label": -1}]})
    assert opened(f"{scheme}://owner/reviews") == [("", [{"label": "pos"}, {"label": None}])]


def test_dataset_with_a_script_is_read_from_the_hubs_parquet(server):
    main = {"raft.py": "raise SystemExit", "data/twitter_complaints/train.csv": "Tweet text,Label,ID\n"}
    put(server.add("ought/raft"), main)
    metadata = {"huggingface": json.dumps({"info": {"features": {"Label": COMPLAINTS}}})}
    train = pa.table({"Tweet text": ["Hi", "No!"], "Label": [2, 1]}).replace_schema_metadata(metadata)
    test = pa.table({"Tweet text": ["Well"], "Label": [0]}).replace_schema_metadata(metadata)
    converted = {
        "twitter_complaints/train/0000.parquet": train,
        "twitter_complaints/test/0000.parquet": test,
        "ade_corpus/partial-train/0000.parquet": train,
    }
    put(server.add("ought/raft", "refs/convert/parquet"), converted)
    assert opened("hf://ought/raft:twitter_complaints@train") == [
        ("", [{"Tweet text": "Hi", "Label": "no complaint"}, {"Tweet text": "No!", "Label": "complaint"}])
    ]
    assert [part for part, _ in opened("hf://ought/raft:twitter_complaints")] == ["train", "test"]
    with pytest.raises(InputError, match=r"several configs; .*`hf://ought/raft:ade_corpus`"):
        opened("hf://ought/raft")
    (table,) = hub.open_url("hf://ought/raft:ade_corpus", READING)
    assert table.notes == (
        "Hugging Face converted only the first 5 GB of `hf://ought/raft:ade_corpus`: this is a part of it",
    )


@HUBS
def test_a_repository_without_data_is_one_sentence(server, scheme):
    put(server.add("owner/script"), {"script.py": "", "README.md": "text"})
    with pytest.raises(InputError, match=r"holds no data that can be read: .*`script.py`; dataset scripts are not run"):
        opened(f"{scheme}://owner/script")


@HUBS
def test_dataset_larger_than_the_disk_is_fetched_a_file_at_a_time(server, scheme, monkeypatch, tmp_path):
    shards = {f"data/train-{at:05}-of-00003.jsonl": [{"q": f"{at} {row}"} for row in range(150)] for at in range(3)}
    put(server.add("owner/large"), {**shards, "data/test-00000-of-00001.jsonl": [{"q": "t"}]})
    monkeypatch.setattr(hub, "_free_bytes", lambda path: 10 if path.is_relative_to(tmp_path) else 10_000)
    train, test = hub.open_url(f"{scheme}://owner/large", READING)
    assert (train.streamed, train.part, train.columns, test.part) == (True, "train", ("q",), "test")
    assert "files are fetched one after another, and not kept" in train.notes[0]
    assert "data/train-00001-of-00003.jsonl" not in server.asked
    rows = [row for piece in train.pieces for row in piece.rows()]
    assert [decode_raw(row.values["q"]) for row in rows] == [row["q"] for shard in shards.values() for row in shard]
    assert str(rows[-1].where) == "train-00002-of-00003.jsonl line 150"
    assert not [file for file in tmp_path.rglob("*.jsonl") if "served" not in file.parts]
    monkeypatch.setattr(hub, "_free_bytes", lambda _: 10)
    with pytest.raises(SetupError, match=r"has room; set HF_HOME, MODELSCOPE_CACHE or TMPDIR"):
        hub.open_url(f"{scheme}://owner/large", READING)


@HUBS
def test_a_limit_fetches_no_more_files_than_it_needs(server, scheme, monkeypatch, tmp_path):
    name = "data/train-{:05}-of-00003.jsonl".format
    rows = [{"question": f"{at}", "answer": "a"} for at in range(150)]
    put(server.add("owner/large"), {name(at): rows for at in range(3)})
    monkeypatch.setattr(hub, "_free_bytes", lambda path: 10 if path.is_relative_to(tmp_path) else 20_000)
    monkeypatch.setattr(workers, "ROWS_AT_A_TIME", 10)
    done = convert(f"{scheme}://owner/large", limit=160)
    assert (done.counts.written, server.asked) == (160, [name(0), name(1)])


@pytest.mark.parametrize(
    "url", ["hf://faq", "hf://a/b/c", "http://a/b", "hf://../b", "hf://a/b@", "ms://a/b:@x", "hf://a/b@x:y"]
)
def test_url_that_names_no_dataset_is_refused(url):
    with pytest.raises(InputError, match="does not name a dataset; write hf://owner/name"):
        hub.parse_address(url)


@pytest.mark.parametrize("url", ["hf://a/b", "ms://a-1/b.2:main@test", "hf://a/b:20220301.en"])
def test_parsed_hub_url_prints_as_it_was_given(url):
    assert str(hub.parse_address(url)) == url


ROW = {"instruction": "a", "output": "b"}


@HUBS
@pytest.mark.parametrize(
    "name",
    [
        "../up.jsonl",
        "data/../../../up.jsonl",
        "/etc/up.jsonl",
        "..\\up.jsonl",
        "C:up.jsonl",
        "a//b.jsonl",
        "./a.jsonl",
        "nul\0.jsonl",
        "clip\x1b]52;c;aGk=\x07.jsonl",
        "two\nlines.jsonl",
        "half\ud800.jsonl",
        "turned\u202elnosj.jsonl",
        "long" * 99 + ".jsonl",
        "deep/" * 999 + "a.jsonl",
    ],
)
def test_unsafe_file_names_of_a_hub_are_left_out_and_told(server, scheme, tmp_path, name):
    put(server.add("owner/strange"), {"train.jsonl": [ROW]})
    server.named = [name]
    (table,) = hub.open_url(f"{scheme}://owner/strange", READING)
    assert [{key: decode_raw(value) for key, value in row.values.items()} for row in table.rows()] == [ROW]
    assert [note for note in table.notes if note.startswith("skipped files whose names are not valid: ")]
    assert server.asked == ["train.jsonl"]
    assert {file.name for file in tmp_path.rglob("*.jsonl")} == {"train.jsonl", "test.jsonl"}  # of `owner/faq`


def test_file_names_in_any_language_are_accepted():
    assert all(map(hub.names_file, ["data/训练 集.jsonl", "a.b/..c/d..jsonl", "C/a:b.csv", "\u3000.csv", "e\u0301"]))
