"""Several datasets, or some samples of one, as one."""

import json

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.registered.mixture import resolve_choices
from ftbridge.core.errors import UsageError
from ftbridge.core.train_spec import dataset_choices
from ftbridge.dataset_info.registry import FILE, look_up


@pytest.fixture
def mix(lines, folder):
    """Return a function that mixes choices of `a` (20 samples) and `b` (10), of which `c` is somebody else's copy."""
    for name, count in (("a", 20), ("b", 10)):
        convert(lines(*({"question": f"{name}{number}?", "answer": "so"} for number in range(count))), name=name)
    known = json.loads((folder / "data" / FILE).read_text())
    known["c"] = {"file_name": "c.json", "columns": {"prompt": "q", "response": "r"}}
    (folder / "data" / FILE).write_text(json.dumps(known))
    (folder / "data" / "c.json").write_text(json.dumps([{"q": f"c{number}?", "r": "so"} for number in range(5)]))

    def make(chosen, target="messages", seed=1):
        return resolve_choices(folder / "data", dataset_choices(chosen), target, folder / "cache", seed)

    return make


def questions(data):
    """Return the questions of a mixture, in their order."""
    (name,) = data.entry.files.values()
    samples = [json.loads(line) for line in (data.folder / name).read_text("utf-8").splitlines()]
    keys = {"messages": "content", "conversation": "input"}
    return [sample[key][0][keys[key]] for sample in samples for key in keys if key in sample]


@pytest.mark.parametrize("target", ["messages", "xtuner", ""])
def test_a_mixture_has_what_is_taken_of_each_in_an_order_of_the_seed(mix, target):
    data = mix(["a", "b#5", "c#0.4"], target)
    found = questions(data)
    assert [(part.name, part.samples, part.total) for part in data.parts] == [
        ("a-train", 20, 20),
        ("b-train", 5, 10),
        ("c", 2, 5),
    ]
    assert data.title == "a-train, b-train#5, c#2"
    assert data.entry.samples == len(found) == len({*found}) == 27
    assert [sum(each.startswith(name) for each in found) for name in "abc"] == [20, 5, 2]
    assert {each[0] for each in found[:15]} == {*"abc"}, "they stand one behind the other"
    assert questions(mix(["a", "b#5", "c#0.4"], target)) == found
    assert questions(mix(["a", "b#5", "c#0.4"], target, seed=2)) != found


def test_fewer_samples_are_the_first_of_more(mix):
    few, more = ({*questions(mix(f"a#{count}"))} for count in (5, 12))
    assert len(few) == 5
    assert few < more
    assert few != {*questions(mix("a#5", seed=2))}


def test_what_llamafactory_reads_by_itself_is_in_the_registry_of_the_mixtures(mix):
    data = mix("a#3,b", "")
    _, raw = look_up(data.folder, data.name)
    assert (raw["formatting"], raw["file_name"]) == ("sharegpt", data.entry.files["sharegpt"])


def test_the_parts_stand_beside_the_mixture_in_its_hashes_and_a_change_makes_it_anew(mix, folder):
    before = mix("a,b")
    assert {*before.sha256} == {before.entry.files["messages"], "a-train.messages.jsonl", "b-train.messages.jsonl"}
    file = folder / "data" / "a-train.messages.jsonl"
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[1:]), "utf-8")
    after = mix("a,b")
    assert (before.entry.samples, after.entry.samples) == (30, 29)
    assert "`a-train`: `a-train.messages.jsonl` has been changed since ftbridge wrote it" in after.edited
    assert before.name != after.name


def test_one_whole_dataset_is_taken_as_it_is(mix, folder):
    data = mix("a")
    assert (data.name, data.folder, data.parts) == ("a-train", folder / "data", ())


@pytest.mark.parametrize(("other", "several"), [("You help.", False), ("You sort.", True)])
def test_a_mixture_has_several_systems_where_its_parts_differ_in_theirs(lines, folder, other, several):
    for name, system in (("a", "You help."), ("b", other)):
        convert(lines({"question": "why?", "answer": "so"}), name=name, system=system)
    entry = resolve_choices(folder / "data", dataset_choices("a,b"), "xtuner", folder / "cache", 1).entry
    assert (entry.system, entry.several_systems) == ("" if several else "You help.", several)


def test_answers_that_are_not_learned_stay_so_beside_those_of_others(mix, lines, folder):
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    convert(lines({"messages": [*turns[:1], {**turns[1], "train": False}, *turns[2:]]}), name="flags")
    data = mix("flags,b", "xtuner")
    text = (data.folder / data.entry.files["xtuner"]).read_text("utf-8")
    assert text.count('"output_with_loss":false') == 1
    assert text.count('"output_with_loss":true') == 11


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("a,a-train", "the dataset `a-train` is named twice"),
        ("b#11", "`b#11` asks for 11 samples, and `b` has 10; take `b`"),
    ],
)
def test_what_cannot_be_mixed_is_one_sentence(mix, chosen, message):
    with pytest.raises(UsageError, match=message):
        mix(chosen)
