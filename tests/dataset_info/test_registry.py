"""dataset_info.json: found, spliced, and written by many at once."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.records import DatasetEntry, EntryOptions
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.registry import (
    FILE,
    converted_entries,
    find_converted,
    locked_registry,
    look_up,
    read_entries,
    refuse_taken_names,
    register,
    remove,
    would_remove,
)


def entry(name, source="1234", **values):
    return DatasetEntry(
        version="0.1.0",
        files={"xtuner": f"{name}.xtuner.jsonl", "alpaca": f"{name}.alpaca.jsonl"},
        samples=1,
        sources={"faq.xlsx": source},
        columns={"instruction": "问题"},
        **values,
    )


def write(folder, text):
    (folder / FILE).write_bytes(text.encode())


def test_an_entry_is_found_by_its_name_and_as_the_training_part(tmp_path):
    register(tmp_path, {"faq-train": entry("faq-train", system="说中文"), "faq-test": entry("faq-test")})
    assert find_converted(tmp_path, "faq") == ("faq-train", entry("faq-train", system="说中文"))
    assert find_converted(tmp_path, "faq-test") == ("faq-test", entry("faq-test"))
    register(tmp_path, {"faq": entry("faq")})
    assert find_converted(tmp_path, "faq")[0] == "faq"


def test_an_entry_maps_all_columns_and_is_plain_ascii(tmp_path):
    register(tmp_path, {"问答-train": entry("问答-train")})
    content = (tmp_path / FILE).read_bytes()
    assert content.isascii()
    raw = json.loads(content)["问答-train"]
    assert (raw["file_name"], raw["formatting"]) == ("问答-train.alpaca.jsonl", "alpaca")
    assert set(raw["columns"]) == {"prompt", "query", "response", "system", "history"}
    assert raw["ftbridge"] == msgspec.to_builtins(entry("问答-train"))


XTUNER = {"xtuner": "faq.xtuner.jsonl"}


@pytest.mark.parametrize(
    ("files", "file_name", "formatting"),
    [
        (XTUNER | {"sharegpt": "faq.sharegpt.jsonl"}, "faq.sharegpt.jsonl", "sharegpt"),
        (XTUNER | {"sharegpt": "faq.sharegpt.jsonl", "alpaca": "faq.alpaca.jsonl"}, "faq.alpaca.jsonl", "alpaca"),
        # LLaMA-Factory says: Dataset converter xtuner not found.
        (XTUNER, "faq.xtuner.jsonl", "xtuner"),
    ],
)
def test_registered_entry_names_the_file_that_llamafactory_reads(tmp_path, files, file_name, formatting):
    register(tmp_path, {"faq": msgspec.structs.replace(entry("faq"), files=files)})
    raw = read_entries(tmp_path)["faq"]
    assert (raw["file_name"], raw["formatting"]) == (file_name, formatting)
    assert len(raw.get("tags", {})) == (7 if formatting == "sharegpt" else 0)
    assert find_converted(tmp_path, "faq")[1].files == files


def test_an_unknown_name_gets_the_closest_and_the_way_to_make_it(tmp_path):
    with pytest.raises(InputError, match=r"no dataset is registered yet.*ftbridge convert"):
        find_converted(tmp_path, "faq")
    register(tmp_path, {"medqa-train": entry("medqa-train")})
    with pytest.raises(InputError, match="did you mean `medqa-train`"):
        find_converted(tmp_path, "medqa-trian")


def test_an_entry_of_somebody_else_is_not_ours(tmp_path):
    write(tmp_path, '{"alpaca": {"file_name": "a.json"}}')
    with pytest.raises(InputError, match="was made by somebody else"):
        find_converted(tmp_path, "alpaca")
    assert look_up(tmp_path, "alpaca") == ("alpaca", {"file_name": "a.json"})
    assert converted_entries(tmp_path, ["alpaca", "other"]) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1,}', "\ufeff{}", '{"a": 1, "a": 2}', "[" * 99_999])
def test_damaged_registry_is_one_sentence_and_stays_as_it_is(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(InputError, match=FILE):
        register(tmp_path, {"faq": entry("faq")})
    assert (tmp_path / FILE).read_bytes() == text.encode()


def test_dataset_that_is_registered_twice_is_named(tmp_path):
    write(tmp_path, '{"a": 1, "b": 2, "b": 3}')
    with pytest.raises(InputError, match="names the dataset `b` twice"):
        read_entries(tmp_path)


def test_a_file_that_is_not_utf8_is_one_sentence(tmp_path):
    (tmp_path / FILE).write_bytes('{"问答": {}}'.encode("gb18030"))
    with pytest.raises(InputError, match="UTF-8"):
        read_entries(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"counts": {"left_out": []}},
        {"sha256": []},
        {"notes": 5},
        {"dataset": {}},
    ],
)
def test_options_that_somebody_has_changed_are_named(tmp_path, options):
    register(tmp_path, {"faq-train": entry("faq-train")})
    known = json.loads((tmp_path / FILE).read_text())
    known["faq-train"]["ftbridge"]["options"] = options
    (tmp_path / FILE).write_text(json.dumps(known))
    with pytest.raises(InputError, match=r"the entry `faq-train` in .*dataset_info.json`: `options\."):
        converted_entries(tmp_path)


def test_an_entry_with_an_unknown_key_is_named(tmp_path):
    write(tmp_path, '{"faq": {"ftbridge": {"version": "9", "smaples": 1}}}')
    with pytest.raises(InputError, match="unknown key `smaples`; did you mean `samples`"):
        find_converted(tmp_path, "faq")


def test_registration_keeps_the_bytes_of_other_entries(tmp_path):
    text = '{ "a":{"file_name" :"\u4e2d.json", "x": 1.50},\r\n\t"b": {"columns":{ }}  }\r\n\r\n'
    write(tmp_path, text)
    register(tmp_path, {"faq": entry("faq")})
    register(tmp_path, {"faq": entry("faq", preset="medqa")})
    now = (tmp_path / FILE).read_bytes().decode()
    start = now.index(', "faq"')
    assert now[:start] + now[len(now) - len(text) + start :] == text


def test_a_link_to_the_file_stays_a_link(tmp_path):
    (tmp_path / "theirs.json").write_text('{"x": {}}')
    (tmp_path / FILE).symlink_to("theirs.json")
    register(tmp_path, {"faq-train": entry("faq-train")})
    assert list(json.loads((tmp_path / "theirs.json").read_text())) == ["x", "faq-train"]
    remove(tmp_path, ["faq-train"])
    assert (tmp_path / "theirs.json").read_text() == '{"x": {}}'


def test_entry_of_another_source_needs_replace(tmp_path):
    register(tmp_path, {"faq-train": entry("faq-train")})
    register(tmp_path, {"faq-train": entry("faq-train", preset="same source")})
    with pytest.raises(InputError, match=r"another source \(faq.xlsx.*--replace"):
        register(tmp_path, {"faq-train": entry("faq-train", "5678")})
    with pytest.raises(InputError, match="--replace"):
        refuse_taken_names(tmp_path, {"faq-train": {"faq.xlsx": "5678"}})
    assert find_converted(tmp_path, "faq")[1].preset == "same source"
    register(tmp_path, {"faq-train": entry("faq-train", "5678")}, replace=True)
    assert find_converted(tmp_path, "faq")[1].sources == {"faq.xlsx": "5678"}


def test_an_entry_of_somebody_else_needs_replace(tmp_path):
    write(tmp_path, '{"faq": {"file_name": "mine.json"}}')
    with pytest.raises(InputError, match=r"did not convert.*--replace"):
        register(tmp_path, {"faq": entry("faq")})
    register(tmp_path, {"faq": entry("faq")}, replace=True)
    assert find_converted(tmp_path, "faq")[1] == entry("faq")


def test_a_change_that_is_refused_changes_nothing(tmp_path):
    register(tmp_path, {"faq": entry("faq"), "faq-test": entry("faq-test"), "other": entry("other")})
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError, match="another source"), locked_registry(tmp_path) as known:
        known.put({"faq": entry("faq", "5678")}, drop=["faq-test", "gone"], files={})
    assert (tmp_path / FILE).read_bytes() == before


def test_dropped_entries_are_gone_with_their_files(tmp_path):
    register(tmp_path, {"faq": entry("faq"), "faq-test": entry("faq-test")})
    for name in ("faq", "faq-test"):
        (tmp_path / f"{name}.xtuner.jsonl").touch()
    with locked_registry(tmp_path) as known:
        known.put({"faq": entry("faq")}, drop=["faq-test"], files={})
    assert list(read_entries(tmp_path)) == ["faq"]
    assert files_in(tmp_path) == {"faq.xtuner.jsonl"}


WRITER = """
import sys
from pathlib import Path
from ftbridge.core.records import DatasetEntry, EntryOptions
from ftbridge.dataset_info.registry import register
folder, writer = sys.argv[1:]
for number in range(3):
    name = f"d{writer}-{number}"
    register(Path(folder), {name: DatasetEntry(version="1", files={"alpaca": name}, samples=number,
             sources={name: writer}, columns={})})
"""


@pytest.mark.slow
def test_registrations_of_32_processes_at_once_are_all_kept(tmp_path):
    write(tmp_path, '{\n    "theirs": {"file_name": "问.json"}\n}\n')
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(number)]) for number in range(32)]
    assert [writer.wait(timeout=300) for writer in writers] == [0] * 32
    known = read_entries(tmp_path)
    assert set(known) == {"theirs"} | {f"d{writer}-{number}" for writer in range(32) for number in range(3)}
    assert find_converted(tmp_path, "d31-2")[1].samples == 2
    assert (tmp_path / FILE).read_text("utf-8").startswith('{\n    "theirs": {"file_name": "问.json"},\n')
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == [f".{FILE}.lock", FILE]


@pytest.fixture
def stocked(tmp_path):
    """Return a folder with three datasets of ours and one of somebody else, all with their files."""
    parts = ["faq-train", "faq-validation", "faq-test", "faq-train-100", "faq2-train", "other"]
    write(tmp_path, '{ "theirs" : {"file_name": "theirs.json"} }')
    base = {name: name.partition("-")[0] for name in parts}
    rejected = {name: EntryOptions(rejected={f"{base[name]}.rejected.jsonl": ""}) for name in parts}
    register(tmp_path, {name: entry(name, options=rejected[name]) for name in parts})
    for name in parts:
        for file in entry(name).files.values():
            (tmp_path / file).touch()
    for name in ("theirs.json", "faq.rejected.jsonl", "faq2.rejected.jsonl"):
        (tmp_path / name).touch()
    return tmp_path


def files_in(folder):
    return {path.name for path in folder.iterdir()} - {FILE, f".{FILE}.lock"}


def test_removal_by_name_takes_all_parts_and_their_files(stocked):
    removed = remove(stocked, ["faq"])
    assert removed.entries == ("faq-train", "faq-validation", "faq-test", "faq-train-100")
    assert {file.name for file in removed.files} == {
        "faq.rejected.jsonl",
        *(file for name in removed.entries for file in entry(name).files.values()),
    }
    assert list(read_entries(stocked)) == ["theirs", "faq2-train", "other"]
    kept = {*entry("faq2-train").files.values(), *entry("other").files.values()}
    assert files_in(stocked) == {"theirs.json", "faq2.rejected.jsonl", *kept}


def test_removal_is_planned_without_deleting_anything(stocked):
    before = {file: file.read_bytes() for file in stocked.iterdir() if file.is_file()}
    going = would_remove(stocked, ["faq-train-100", "theirs"])
    assert {file: file.read_bytes() for file in stocked.iterdir() if file.is_file()} == before
    assert going == remove(stocked, ["faq-train-100", "theirs"])
    with pytest.raises(InputError, match="nosuch"):
        would_remove(stocked, ["nosuch"])
    with pytest.raises(InputError, match="no dataset to remove"):
        would_remove(stocked / "nowhere", ["faq"])


def test_a_part_takes_out_itself_and_the_rejected_rows_with_the_last(stocked):
    removed = remove(stocked, ["faq-train", "faq-validation", "faq-test"])
    assert "faq.rejected.jsonl" in files_in(stocked)
    assert len(removed.files) == 6
    assert [file.name for file in remove(stocked, ["faq-train-100"]).files] == [
        "faq-train-100.alpaca.jsonl",
        "faq-train-100.xtuner.jsonl",
        "faq.rejected.jsonl",
    ]


def test_files_written_by_ftbridge_are_known_from_the_registry(tmp_path):
    assert registry.files_written(tmp_path) == set()
    write(tmp_path, '{"theirs": {"file_name": "theirs.json"}}')
    assert registry.files_written(tmp_path) == set()
    options = EntryOptions(rejected={"faq.rejected.jsonl": "", "faq.rejected.xlsx": ""})
    register(tmp_path, {"faq-train": entry("faq-train", options=options)})
    files = {"faq-train.alpaca.jsonl", "faq-train.xtuner.jsonl", "faq.rejected.jsonl", "faq.rejected.xlsx"}
    assert registry.files_written(tmp_path) == {FILE, *files}
    write(tmp_path, "{")
    assert registry.files_written(tmp_path) == set()


def test_removed_foreign_entry_keeps_its_file_and_all_other_bytes(stocked):
    before = files_in(stocked)
    removed = remove(stocked, ["theirs"])
    assert (removed.entries, removed.files) == (("theirs",), ())
    assert files_in(stocked) == before
    assert "theirs" not in read_entries(stocked)


@pytest.mark.parametrize(("name", "made"), [("fqa", True), ("faq#x", False)])
def test_a_dataset_that_is_not_there_gets_the_near_one_and_a_command_that_works(stocked, name, made):
    with pytest.raises(InputError, match=r"did you mean `faq`\?") as refused:
        remove(stocked, [name])
    assert (f"`ftbridge convert FILE --name {name}` makes one" in str(refused.value)) == made


def test_parts_of_somebody_else_must_be_named_exactly(tmp_path):
    write(tmp_path, '{"faq-train": {"file_name": "mine.json"}}')
    with pytest.raises(InputError, match=r"no dataset `faq`.*known are: faq-train"):
        remove(tmp_path, ["faq"])


def test_a_file_that_another_entry_names_or_that_is_elsewhere_stays(tmp_path):
    folder = tmp_path / "data"
    shared = {"xtuner": "shared.jsonl", "alpaca": "../elsewhere.jsonl"}
    folder.mkdir()
    (folder / "shared.jsonl").touch()
    (tmp_path / "elsewhere.jsonl").touch()
    write(folder, '{"theirs": {"file_name": "shared.jsonl"}, "odd": 1}')
    register(folder, {"faq": msgspec.structs.replace(entry("faq"), files=shared)})
    assert remove(folder, ["faq"]).files == ()
    assert (folder / "shared.jsonl").exists()
    assert (tmp_path / "elsewhere.jsonl").exists()


def test_an_unknown_name_takes_nothing_out(stocked):
    before = (stocked / FILE).read_bytes()
    with pytest.raises(InputError, match="no dataset `nosuch`"):
        remove(stocked, ["faq", "nosuch"])
    assert (stocked / FILE).read_bytes() == before
    with pytest.raises(InputError, match="no dataset to remove"):
        remove(stocked / "nowhere", ["faq"])
    assert not (stocked / "nowhere").exists()
