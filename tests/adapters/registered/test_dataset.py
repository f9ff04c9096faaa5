"""Which file a backend trains on."""

import hashlib
import json

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.registered.dataset import record_hashes, resolve_dataset, whole_entry
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.registry import FILE, read_entries

GOOD = {"instruction": "why?", "input": "", "output": "so"}
CHAT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]


@pytest.fixture
def data(folder):
    """Return a function that writes a foreign dataset `theirs` and returns the dataset folder."""
    (folder / "data").mkdir()

    def write(*records, **keys):
        (folder / "data" / FILE).write_text(json.dumps({"theirs": {"file_name": "theirs.json"} | keys}))
        (folder / "data" / "theirs.json").write_text("\n".join(json.dumps(record) for record in records))
        return folder / "data"

    return write


def written(dataset):
    text = (dataset.folder / dataset.entry.files["xtuner"]).read_text("utf-8")
    records = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [[(turn["system"], turn["input"], turn["output"]) for turn in each["conversation"]] for each in records]


def test_dataset_of_ours_is_used_without_a_conversion(lines, folder):
    convert(lines(GOOD), name="faq")
    for backend in ("xtuner", ""):
        found = resolve_dataset(folder / "data", "faq", backend, folder / "cache")
        assert (found.name, found.folder, found.entry.samples) == ("faq-train", folder / "data", 1)
    assert not (folder / "cache").exists()
    (folder / "data" / "faq-train.xtuner.jsonl").unlink()
    assert resolve_dataset(folder / "data", "faq", "", folder / "cache").entry.samples == 1
    with pytest.raises(InputError, match=r"lacks its file .*faq-train.xtuner.jsonl`; convert it again"):
        resolve_dataset(folder / "data", "faq", "xtuner", folder / "cache")


@pytest.fixture
def alone(lines, folder):
    """Return a function that leaves a dataset of ours only one of its targets."""

    def keep(target):
        convert(lines(GOOD), name="faq")
        known = read_entries(folder / "data")
        own = known["faq-train"]["ftbridge"]
        own["files"] = {target: own["files"][target]}
        if target == "xtuner":
            known["faq-train"] = {"file_name": own["files"]["xtuner"], "formatting": "xtuner", "ftbridge": own}
        (folder / "data" / FILE).write_text(json.dumps(known))

    return keep


def test_a_dataset_of_ours_without_xtuners_file_is_converted(alone, folder):
    alone("alpaca")
    assert written(resolve_dataset(folder / "data", "faq", "xtuner", folder / "cache")) == [[("", "why?", "so")]]


def test_a_dataset_for_xtuner_alone_is_not_for_llamafactory(alone, folder):
    alone("xtuner")
    assert resolve_dataset(folder / "data", "faq", "xtuner", folder / "cache").folder == folder / "data"
    with pytest.raises(InputError, match=r"was converted for XTuner alone; .*--to alpaca"):
        resolve_dataset(folder / "data", "faq", "", folder / "cache")


def test_foreign_dataset_is_converted_once_and_its_files_stay(data, folder, capsys):
    columns = {"messages": "conversations", "system": "rule"}
    place = data({"conversations": CHAT * 2, "rule": "be kind"}, formatting="sharegpt", columns=columns)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    found = resolve_dataset(place, "theirs", "xtuner", folder / "cache")
    assert written(found) == [[("be kind", "hi", "hello"), ("", "hi", "hello")]]
    assert (found.name, found.folder, found.entry.samples) == ("theirs", folder / "cache", 1)
    assert (found.entry.system, list(found.entry.sources)) == ("be kind", ["theirs.json"])
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert "converting it" in capsys.readouterr().err
    assert resolve_dataset(place, "theirs", "xtuner", folder / "cache") == found
    assert capsys.readouterr().err == ""
    (folder / "cache" / found.entry.files["xtuner"]).unlink()
    assert written(resolve_dataset(place, "theirs", "xtuner", folder / "cache"))


def test_a_file_that_nobody_registered_is_not_written_over(data, folder):
    place, cache = data(GOOD), folder / "cache"
    file = resolve_dataset(place, "theirs", "xtuner", cache).entry.files["xtuner"]
    (cache / "dataset_info.json").unlink()
    (cache / file).write_text("mine")
    with pytest.raises(InputError, match=f"{file}` exists already and belongs to no dataset .* move it away"):
        resolve_dataset(place, "theirs", "xtuner", cache)
    assert (cache / file).read_text() == "mine"


def test_a_change_of_the_file_or_of_the_entry_is_seen(data, folder):
    first = resolve_dataset(data(GOOD), "theirs", "xtuner", folder / "cache")
    other = resolve_dataset(data(GOOD | {"output": "and"}), "theirs", "xtuner", folder / "cache")
    assert [written(first), written(other)] == [[[("", "why?", "so")]], [[("", "why?", "and")]]]
    mapped = data(GOOD, columns={"prompt": "output", "response": "instruction"})
    assert written(resolve_dataset(mapped, "theirs", "xtuner", folder / "cache")) == [[("", "so", "why?")]]


def test_foreign_dataset_is_given_to_llamafactory_unchanged(data, folder):
    found = resolve_dataset(data(GOOD, GOOD), "theirs", "", folder / "cache")
    assert (found.folder, found.entry.samples, found.entry.files) == (folder / "data", 2, {})
    drawn = resolve_dataset(data(GOOD, GOOD, num_samples=7), "theirs", "", folder / "cache")
    assert drawn.entry.samples == 7
    assert not (folder / "cache").exists()


def test_tools_are_for_llamafactory_alone(data, folder):
    calls = [CHAT[0], {"from": "function_call", "value": "{}"}]
    place = data({"conversations": CHAT}, {"conversations": calls}, formatting="sharegpt")
    assert resolve_dataset(place, "theirs", "", folder / "cache").entry.samples == 2
    with pytest.raises(
        InputError, match=r"1 of 2 records .*not fit for the format `xtuner`\n\naddress(.|\n)*line 2.*calls tools"
    ):
        resolve_dataset(place, "theirs", "xtuner", folder / "cache")
    assert not (folder / "cache").exists()


@pytest.mark.parametrize("backend", ["xtuner", ""])
@pytest.mark.parametrize(
    ("records", "keys", "message"),
    [
        (
            [GOOD, GOOD | {"output": None}],
            {},
            r"1 of 2 records .* not fit for either framework\n\n(.|\n)*--on-error skip",
        ),
        ([GOOD], {"columns": {"prompt": "q", "response": "output"}}, "the column `q` should be read"),
        ([GOOD], {"columns": {"prompt": "q"}}, "`columns` lacks `response`"),
        ([GOOD], {"file_name": "absent.json"}, "its file is missing"),
        ([GOOD], {"hf_hub_url": "owner/name"}, "is not here, but at `owner/name`"),
        ([GOOD], {"split": "train[:1]"}, r"only LLaMA-Factory applies `split` train\[:1\]"),
        ([], {}, "its file is empty"),
    ],
)
def test_foreign_dataset_that_would_lose_samples_is_refused(data, folder, backend, records, keys, message):
    with pytest.raises(InputError, match=message):
        resolve_dataset(data(*records, **keys), "theirs", backend, folder / "cache")
    assert not (folder / "cache").exists()


def test_dates_are_written_so_that_they_stay_text(data, folder):
    place = data(GOOD)
    (place / "theirs.json").write_text(json.dumps([GOOD | {"output": "2024-01-01"}] * 2))
    found = resolve_dataset(place, "theirs", "xtuner", folder / "cache")
    assert (found.folder / found.entry.files["xtuner"]).read_text().startswith("[\n{")
    assert written(found) == [[("", "why?", "2024-01-01")]] * 2


def test_dataset_with_an_unsafe_name_gets_a_file(data, folder):
    place = data(GOOD)
    text = (place / FILE).read_text()
    (place / FILE).write_text(text.replace('"theirs":', '"../问 \\n.":'))
    assert written(resolve_dataset(place, "../问 \n.", "xtuner", folder / "cache"))


TARGETS = ["xtuner", ""]
FILES = {"xtuner": "faq-train.xtuner.jsonl", "": "faq-train.alpaca.jsonl"}


@pytest.fixture
def faq(lines, folder):
    """Return a function that gives the dataset `faq` of three samples as it stands for a backend."""
    convert(lines(GOOD, GOOD | {"instruction": "how?"}, GOOD | {"instruction": "when?"}), name="faq")

    def stands(backend):
        return record_hashes(resolve_dataset(folder / "data", "faq", backend, folder / "cache"), backend)

    return stands


def test_dataset_sha256_is_that_of_the_file_that_is_read(faq, folder):
    for backend in TARGETS:
        file = folder / "data" / FILES[backend]
        assert faq(backend).sha256[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (faq(backend).edited, faq(backend).entry.samples) == ("", 3)


def changed(lines):
    return [lines[0].replace("so", "not so"), *lines[1:]]


def deleted(lines):
    return lines[1:]


def added(lines):
    return [*lines, lines[0]]


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(("edit", "samples"), [(changed, 3), (deleted, 2), (added, 4)])
def test_edited_file_is_named_counted_and_hashed_for_its_backend_alone(faq, folder, backend, edit, samples):
    file = folder / "data" / FILES[backend]
    file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n")
    found = faq(backend)
    other, untouched = next((name, file) for name, file in FILES.items() if name != backend)
    assert found.sha256[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.entry.samples == samples
    assert found.edited == (
        f"`{file.name}` has been changed since ftbridge wrote it: it holds {samples} samples, and 3 were converted; "
        f"an edit there does not reach `{untouched}` and `faq-train.messages.jsonl`"
    )
    assert (faq(other).edited, faq(other).entry.samples) == ("", 3)


@pytest.mark.parametrize("backend", TARGETS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{nonsense\n", "1 of 4 records of the dataset `faq-train`"),
        ('{"question": "why?"}\n', "1 of 4 records of the dataset `faq-train`"),
        (None, "its file is empty"),
        ("\n\n", "holds no JSON object; it is empty"),
    ],
)
def test_an_edit_that_loses_samples_is_refused(faq, folder, backend, content, message):
    file = folder / "data" / FILES[backend]
    whole = content and content.startswith("{")
    file.write_text((file.read_text() if whole else "") + (content or ""))
    with pytest.raises(InputError, match=message) as raised:
        faq(backend)
    if message.startswith("1 of 4"):
        reader = {"xtuner": "training", "": "LLaMA-Factory"}[backend]
        assert f"are not fit for {reader}; `{file.name}` has been changed since ftbridge" in str(raised.value)
        assert str(raised.value).endswith("Fix them, or convert its source again with `--replace`")


def test_the_system_prompt_of_an_edited_file_is_the_one_that_is_in_it(lines, folder):
    convert(lines(GOOD | {"system": "be kind"}, GOOD | {"system": "be kind", "instruction": "how?"}), name="faq")
    file = folder / "data" / FILES["xtuner"]
    file.write_text(file.read_text().replace("be kind", "be brief"))
    found = record_hashes(resolve_dataset(folder / "data", "faq", "xtuner", folder / "cache"), "xtuner").entry
    assert (found.system, found.several_systems) == ("be brief", False)
    file.write_text(file.read_text().replace("be brief", "be quick", 1))
    found = record_hashes(resolve_dataset(folder / "data", "faq", "xtuner", folder / "cache"), "xtuner").entry
    assert found.several_systems


def entry_with(folder, **keys):
    known = read_entries(folder / "data")
    known["faq-train"] |= keys
    (folder / "data" / FILE).write_text(json.dumps(known))


def test_edited_entry_is_told_and_its_samples_are_counted(faq, folder):
    before = faq("").sha256
    entry_with(folder, num_samples=2)
    assert faq("").entry.samples == 2
    changed = {name for name, sha256 in faq("").sha256.items() if before[name] != sha256}
    assert changed == {"dataset_info.json: faq-train"}
    assert faq("").edited == "its entry in dataset_info.json has been changed since ftbridge wrote it"
    assert faq("xtuner").edited == ""  # which does not look at it
    entry_with(folder, num_samples=2, columns={"prompt": "output", "response": "nowhere"})
    with pytest.raises(InputError, match="the column `nowhere` should be read"):
        faq("")


def test_edited_entry_that_names_another_file_is_told(faq, folder):
    (folder / "data" / "mine.jsonl").write_text(json.dumps(GOOD | {"system": "", "history": []}) + "\n")
    entry_with(folder, file_name="mine.jsonl")
    found = faq("")
    assert (found.entry.samples, next(iter(found.sha256))) == (1, "mine.jsonl")
    assert "`mine.jsonl` was not written by ftbridge: it holds 1 sample, and 3 were converted" in found.edited


@pytest.mark.parametrize("options", [{}, {"sha256": {"xtuner": "", "alpaca": ""}}])
def test_dataset_without_sha256_on_record_is_taken_as_unedited(faq, folder, options):
    own = read_entries(folder / "data")["faq-train"]["ftbridge"]
    entry_with(folder, ftbridge=own | {"options": options})
    for backend in TARGETS:
        assert (faq(backend).edited, faq(backend).entry.samples) == ("", 3)


@pytest.mark.parametrize("backend", TARGETS)
def test_foreign_dataset_is_hashed_and_never_counts_as_edited(data, folder, backend):
    found = record_hashes(resolve_dataset(data(GOOD), "theirs", backend, folder / "cache"), backend)
    (name, sha256) = next(iter(found.sha256.items()))
    assert hashlib.sha256((found.folder / name).read_bytes()).hexdigest() == sha256
    assert found.edited == ""


def test_edited_conversion_for_xtuner_is_converted_again(data, folder):
    place = data(GOOD)
    found = resolve_dataset(place, "theirs", "xtuner", folder / "cache")
    file = folder / "cache" / found.entry.files["xtuner"]
    before = file.read_bytes()
    file.write_bytes(before.replace(b"so", b"no"))
    assert resolve_dataset(place, "theirs", "xtuner", folder / "cache") == found
    assert file.read_bytes() == before


def conversations(dataset):
    text = (dataset.folder / dataset.entry.files["messages"]).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_foreign_dataset_with_tools_flags_and_thoughts_becomes_messages(data, folder):
    called = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
        {"from": "observation", "value": "42"},
        {"from": "gpt", "value": "a", "reasoning_content": "hm"},
    ]
    flagged = [CHAT[0], CHAT[1] | {"loss": False}, *CHAT]
    theirs = data(
        {"conversations": called, "tools": '[{"name": "f"}]'},
        {"conversations": flagged, "tools": ""},
        {"conversations": CHAT, "tools": ""},
        formatting="sharegpt",
        columns={"messages": "conversations", "tools": "tools"},
    )
    first, second, third = conversations(resolve_dataset(theirs, "theirs", "messages", folder / "cache"))
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    assert first == {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert [each.get("train") for each in second["messages"]] == [None, False, None, None]
    assert [each["content"] for each in third["messages"]] == ["hi", "hello"]
    with pytest.raises(InputError, match="not fit for the format `xtuner`"):
        resolve_dataset(theirs, "theirs", "xtuner", folder / "cache")


def test_xtuners_file_alone_becomes_messages_with_its_flags(lines, folder):
    said = [{"input": "q", "output": "a", "output_with_loss": False}, {"input": "r", "output": "b"}]
    convert(lines({"conversation": said}), name="faq", to=["xtuner"])
    (found,) = conversations(resolve_dataset(folder / "data", "faq", "messages", folder / "cache"))
    assert [each.get("train") for each in found["messages"]] == [None, False, None, None]


def test_samples_are_those_of_the_file_that_is_read(lines, folder):
    flagged = {"messages": [*said("q", "a"), *said("r", "b")]}
    flagged["messages"][1]["train"] = False
    convert(lines({"messages": said("q", "a")}, flagged), name="faq")
    for target, samples in (("", 1), ("xtuner", 2), ("messages", 2)):
        assert resolve_dataset(folder / "data", "faq", target, folder / "cache").entry.samples == samples


def test_edit_of_messages_with_tools_and_flags_is_told_and_loses_nothing(lines, folder):
    convert(lines({"messages": said("q", "a"), "tools": [{"name": "f"}]}, {"messages": said("q", "a")}), name="faq")
    file = folder / "data" / "faq-train.messages.jsonl"
    system = '"messages":[{"role":"system","content":"be kind"},'
    file.write_text(file.read_text().replace('"messages":[', system))
    found = record_hashes(resolve_dataset(folder / "data", "faq", "messages", folder / "cache"), "messages")
    assert (found.entry.samples, found.entry.system, found.entry.several_systems) == (2, "be kind", False)
    assert found.edited.startswith("`faq-train.messages.jsonl` has been changed")
    file.write_text(file.read_text().replace('"content":"a"', '"content":7'))
    with pytest.raises(InputError, match=r"2 of 2 records .* are not fit for training; `faq-train.messages.jsonl` has"):
        record_hashes(resolve_dataset(folder / "data", "faq", "messages", folder / "cache"), "messages")


def test_what_files_lack_is_said_and_all_samples_are_shown(lines, folder):
    flagged = {"messages": [*said("q", "a"), *said("r", "b")]}
    flagged["messages"][1]["train"] = False
    convert(lines(flagged, {"messages": said("p", "c"), "tools": [{"name": "f"}]}, {"messages": said("o", "d")}))
    raw = read_entries(folder / "data")["faq-train"]
    entry, notes = whole_entry(folder / "data", "faq-train", raw)
    assert (entry.file_name, raw["file_name"]) == ("faq-train.messages.jsonl", "faq-train.alpaca.jsonl")
    assert notes == [
        "1 sample is not in the file for xtuner, which cannot hold tools",
        "2 samples are not in the file for alpaca, which cannot hold answers that are not learned and tools",
    ]
    assert whole_entry(folder / "data", "odd", {"file_name": "x.json"})[1] == []
    raw["ftbridge"]["samples"] = "many"
    assert whole_entry(folder / "data", "faq-train", raw)[0].file_name == "faq-train.alpaca.jsonl"


def test_dataset_of_tools_alone_names_the_way_to_train_on_it(lines, folder):
    convert(lines({"messages": said("q", "a"), "tools": [{"name": "f"}]}), name="faq")
    assert resolve_dataset(folder / "data", "faq", "messages", folder / "cache").entry.samples == 1
    for target in TARGETS:
        with pytest.raises(InputError, match=r"`faq-train` has no file .*`--tokens once`"):
            resolve_dataset(folder / "data", "faq", target, folder / "cache")


def said(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
