"""Which file a backend trains on."""

import json

import pytest

from ftbridge.adapters.convert import convert
from ftbridge.adapters.datasets import usable
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.registry import FILE, read

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


def test_a_dataset_of_ours_is_used_as_it_is(lines, folder):
    convert(lines(GOOD), name="faq")
    for backend in ("xtuner", "llamafactory"):
        found = usable(folder / "data", "faq", backend, folder / "cache")
        assert (found.name, found.folder, found.entry.samples) == ("faq-train", folder / "data", 1)
    assert not (folder / "cache").exists()
    (folder / "data" / "faq-train.xtuner.jsonl").unlink()
    assert usable(folder / "data", "faq", "llamafactory", folder / "cache").entry.samples == 1
    with pytest.raises(InputError, match=r"lacks its file .*faq-train.xtuner.jsonl`; convert it again"):
        usable(folder / "data", "faq", "xtuner", folder / "cache")


@pytest.fixture
def alone(lines, folder):
    """Return a function that leaves a dataset of ours only one of its targets."""

    def keep(target):
        convert(lines(GOOD), name="faq")
        known = read(folder / "data")
        own = known["faq-train"]["ftbridge"]
        own["files"] = {target: own["files"][target]}
        if target == "xtuner":
            known["faq-train"] = {"file_name": own["files"]["xtuner"], "formatting": "xtuner", "ftbridge": own}
        (folder / "data" / FILE).write_text(json.dumps(known))

    return keep


def test_a_dataset_of_ours_without_xtuners_file_is_converted(alone, folder):
    alone("alpaca")
    assert written(usable(folder / "data", "faq", "xtuner", folder / "cache")) == [[("", "why?", "so")]]


def test_a_dataset_for_xtuner_alone_is_not_for_llamafactory(alone, folder):
    alone("xtuner")
    assert usable(folder / "data", "faq", "xtuner", folder / "cache").folder == folder / "data"
    with pytest.raises(InputError, match=r"was converted for XTuner alone; .*--to alpaca"):
        usable(folder / "data", "faq", "llamafactory", folder / "cache")


def test_what_is_not_ours_is_converted_once_and_stays_as_it_is(data, folder, capsys):
    columns = {"messages": "conversations", "system": "rule"}
    place = data({"conversations": CHAT * 2, "rule": "be kind"}, formatting="sharegpt", columns=columns)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    found = usable(place, "theirs", "xtuner", folder / "cache")
    assert written(found) == [[("be kind", "hi", "hello"), ("", "hi", "hello")]]
    assert (found.name, found.folder, found.entry.samples) == ("theirs", folder / "cache", 1)
    assert (found.entry.system, list(found.entry.sources)) == ("be kind", ["theirs.json"])
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert "converting it" in capsys.readouterr().err
    assert usable(place, "theirs", "xtuner", folder / "cache") == found
    assert capsys.readouterr().err == ""
    (folder / "cache" / found.entry.files["xtuner"]).unlink()
    assert written(usable(place, "theirs", "xtuner", folder / "cache"))


def test_a_file_that_nobody_registered_is_not_written_over(data, folder):
    place, cache = data(GOOD), folder / "cache"
    file = usable(place, "theirs", "xtuner", cache).entry.files["xtuner"]
    (cache / "dataset_info.json").unlink()
    (cache / file).write_text("mine")
    with pytest.raises(InputError, match=f"{file}` is there, and no dataset .* move it away"):
        usable(place, "theirs", "xtuner", cache)
    assert (cache / file).read_text() == "mine"


def test_a_change_of_the_file_or_of_the_entry_is_seen(data, folder):
    first = usable(data(GOOD), "theirs", "xtuner", folder / "cache")
    other = usable(data(GOOD | {"output": "and"}), "theirs", "xtuner", folder / "cache")
    assert [written(first), written(other)] == [[[("", "why?", "so")]], [[("", "why?", "and")]]]
    mapped = data(GOOD, columns={"prompt": "output", "response": "instruction"})
    assert written(usable(mapped, "theirs", "xtuner", folder / "cache")) == [[("", "so", "why?")]]


def test_llamafactory_gets_the_file_as_it_is(data, folder):
    found = usable(data(GOOD, GOOD), "theirs", "llamafactory", folder / "cache")
    assert (found.folder, found.entry.samples, found.entry.files) == (folder / "data", 2, {})
    drawn = usable(data(GOOD, GOOD, num_samples=7), "theirs", "llamafactory", folder / "cache")
    assert drawn.entry.samples == 7
    assert not (folder / "cache").exists()


def test_tools_are_for_llamafactory_alone(data, folder):
    calls = [CHAT[0], {"from": "function_call", "value": "{}"}]
    place = data({"conversations": CHAT}, {"conversations": calls}, formatting="sharegpt")
    assert usable(place, "theirs", "llamafactory", folder / "cache").entry.samples == 2
    with pytest.raises(InputError, match=r"1 of 2 records .*not fit for XTuner\n\naddress(.|\n)*line 2.*calls tools"):
        usable(place, "theirs", "xtuner", folder / "cache")
    assert not (folder / "cache").exists()


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
@pytest.mark.parametrize(
    ("records", "keys", "message"),
    [
        (
            [GOOD, GOOD | {"output": None}],
            {},
            r"1 of 2 records .* not fit for either framework\n\n(.|\n)*--on-error skip",
        ),
        ([GOOD], {"columns": {"prompt": "q", "response": "output"}}, "the column `q` is to be read"),
        ([GOOD], {"columns": {"prompt": "q"}}, "`columns` leaves out `response`"),
        ([GOOD], {"file_name": "absent.json"}, "its file is missing"),
        ([GOOD], {"hf_hub_url": "owner/name"}, "is not here, but at `owner/name`"),
        ([GOOD], {"split": "train[:1]"}, r"only LLaMA-Factory draws `split` train\[:1\]"),
        ([], {}, "its file is empty"),
    ],
)
def test_what_would_be_lost_is_refused(data, folder, backend, records, keys, message):
    with pytest.raises(InputError, match=message):
        usable(data(*records, **keys), "theirs", backend, folder / "cache")
    assert not (folder / "cache").exists()


def test_dates_are_written_so_that_they_stay_text(data, folder):
    place = data(GOOD)
    (place / "theirs.json").write_text(json.dumps([GOOD | {"output": "2024-01-01"}] * 2))
    found = usable(place, "theirs", "xtuner", folder / "cache")
    assert (found.folder / found.entry.files["xtuner"]).read_text().startswith("[\n{")
    assert written(found) == [[("", "why?", "2024-01-01")]] * 2


def test_any_name_makes_a_file(data, folder):
    place = data(GOOD)
    text = (place / FILE).read_text()
    (place / FILE).write_text(text.replace('"theirs":', '"../问 \\n.":'))
    assert written(usable(place, "../问 \n.", "xtuner", folder / "cache"))
