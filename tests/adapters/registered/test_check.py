"""What `check` says, and what the frameworks themselves say."""

import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.registered.check import check_datasets
from ftbridge.adapters.registered.dataset import resolve_dataset
from ftbridge.adapters.targets import sharegpt
from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.records import Conversation, Turn, Where
from ftbridge.dataset_info.registry import FILE
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS

HERE = Path(__file__).parent
GOOD = {"instruction": "why?", "input": "", "output": "because"}
DATES = [GOOD | {"output": "2024-01-01"}, GOOD | {"output": "2024-01-02"}]
SAID = [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}]
OPENAI = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
ALL_TAGS = OPENAI | {"observation_tag": "tool", "function_tag": "function", "system_tag": "system"}
ASKED = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
CALLED = [
    {"from": "human", "value": "why?"},
    {"from": "function_call", "value": '{"name": "look", "arguments": {}}'},
    {"from": "observation", "value": "it rains"},
    {"from": "gpt", "value": "because"},
]
LATE = [GOOD | {"input": "x" * 2**20} for _ in range(11)]
MESSAGES = {"formatting": "sharegpt", "columns": {"messages": "messages"}}

# name: (records or text, what the entry has besides its file), by what `check` says of LLaMA-Factory and XTuner
OURS = [
    msgspec.json.encode(
        sharegpt.sample(Conversation("be kind", (Turn("hi", "", "hello"), Turn("why?", "now", "so")), Where("f", 1)))
    ),
    msgspec.json.encode(sharegpt.sample(Conversation("", (Turn("how?", "", "thus"),), Where("f", 2)))),
]
LOAD = {
    "our-sharegpt": ([json.loads(line) for line in OURS], sharegpt.entry),
    "plain": ([GOOD], {}),
    "some columns": ([{"q": "why?", "a": "because"}], {"columns": {"prompt": "q", "response": "a"}}),
    "null-input": ([GOOD | {"input": None}, GOOD], {}),
    "missing-input": ([{"instruction": "a", "output": "b"}, GOOD], {}),
    "empty-answer": ([GOOD | {"output": ""}], {}),
    "unknown-key": ([GOOD], {"fromat": "alpaca"}),
    "history": (
        [GOOD | {"history": []}, GOOD | {"history": [["a", "b"]]}],
        {"columns": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}},
    ),
    "unread-system": ([GOOD | {"system": "be kind"}], {}),
    "array-of-dates": (json.dumps(DATES), {}),
    "one-date": ([*DATES, GOOD], {}),
    "sharegpt": ([{"conversations": SAID}], {"formatting": "sharegpt"}),
    "leading-system": ([{"conversations": [{"from": "system", "value": "s"}, *SAID]}], {"formatting": "sharegpt"}),
    "openai-tags": ([{"messages": ASKED}], MESSAGES | {"tags": OPENAI}),
    "openai": (
        [{"messages": [{"role": "system", "content": "s"}, *ASKED]}],
        MESSAGES | {"formatting": "openai", "tags": ALL_TAGS},
    ),
    "no-pictures": (
        [{"conversations": SAID, "images": []}],
        {"formatting": "sharegpt", "columns": {"messages": "conversations", "images": "images"}},
    ),
    "numbers-elsewhere": ([GOOD | {"id": 1}, GOOD | {"id": 2.5}], {}),
    "ranking-no": ([GOOD], {"ranking": False}),
    "folder": ({"a.json": [GOOD], "b.jsonl": [GOOD | {"instruction": "how?"}]}, {}),
}
SPECIAL = {
    "tool-calls": ([{"conversations": CALLED}], {"formatting": "sharegpt"}),
    "tools": (
        [{"conversations": SAID, "tools": '[{"name": "look"}]'}],
        {"formatting": "sharegpt", "columns": {"messages": "conversations", "tools": "tools"}},
    ),
    "openai-calls": (
        [
            {
                "messages": [
                    ASKED[0],
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}],
                    },
                    {"role": "tool", "content": "a"},
                    {"role": "tool", "content": "b"},
                    ASKED[1],
                ]
            }
        ],
        MESSAGES | {"formatting": "openai", "tags": ALL_TAGS},
    ),
    "slice": ([GOOD, GOOD], {"split": "train[:1]"}),
    "drawn": ([GOOD, GOOD], {"num_samples": 3}),
}
FAIL = {
    "with,comma": ([GOOD], {}),
    " blank": ([GOOD], {}),
    "no-file": (None, {"file_name": "nowhere.json"}),
    "no-file-name": (None, {}),
    "odd-ending": ([GOOD], {"file_name": "odd.jsonlines"}),
    "not-json": ("instruction,output\na,b\n", {}),
    "cut-short": ('[{"instruction": "a", "input": "", "output": "b"}, {"instr', {}),
    "empty": ("", {}),
    "no-response": ([GOOD], {"columns": {"prompt": "instruction", "responce": "output"}}),
    "absent-column": ([GOOD], {"columns": {"prompt": "question", "response": "output"}}),
    "no-input-column": ([{"instruction": "a", "output": "b"}], {}),
    "format": ([{"conversations": SAID}], {"format": "sharegpt"}),
    "formatting": ([GOOD], {"formatting": "alpacca"}),
    "drawn-text": ([GOOD], {"num_samples": "1"}),
    "drawn-none": ([GOOD], {"num_samples": 0}),
    "two-tags": ([{"messages": ASKED}], MESSAGES | {"tags": {"role_tag": "role", "content_tag": "content"}}),
    "no-tags": ([{"messages": ASKED}], MESSAGES),
    "no-messages": ([{"conversations": SAID}], {"formatting": "sharegpt", "columns": {"system": "s"}}),
    "no-system-tag": ([{"messages": [{"role": "system", "content": "s"}, *ASKED]}], MESSAGES | {"tags": OPENAI}),
    "number-answer": ([GOOD | {"output": 69}], {}),
    "some-number-answers": ([GOOD, GOOD | {"output": 69}], {}),
    "number-question": ([GOOD | {"instruction": 7}], {}),
    "null-answer": ([GOOD, GOOD | {"output": None}], {}),
    "all-dates": (DATES, {}),
    "mixed-elsewhere": ([GOOD | {"id": 1}, GOOD | {"id": "a"}], {}),
    "mixed-in-array": (json.dumps([GOOD | {"id": 1}, GOOD | {"id": "a"}]), {}),
    "odd-count": ([{"conversations": SAID}, {"conversations": SAID[:1]}], {"formatting": "sharegpt"}),
    "wrong-order": ([{"conversations": SAID[::-1]}, {"conversations": SAID}], {"formatting": "sharegpt"}),
    "empty-talk": ([{"conversations": []}, {"conversations": SAID}], {"formatting": "sharegpt"}),
    "null-content": ([{"conversations": [SAID[0], {"from": "gpt", "value": None}]}], {"formatting": "sharegpt"}),
    "text-history": (
        [GOOD | {"history": [["a"]]}],
        {"columns": {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}},
    ),
    "late-column": ([*LATE, GOOD | {"note": "late"}], {}),
    "preferences": (
        [GOOD | {"chosen": "a", "rejected": "b"}],
        {
            "ranking": True,
            "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
        },
    ),
    "thumbs": (
        [GOOD | {"good": True}],
        {"columns": {"prompt": "instruction", "query": "input", "response": "output", "kto_tag": "good"}},
    ),
    "pictures": (
        [{"conversations": SAID, "images": ["a.png"]}],
        {"formatting": "sharegpt", "columns": {"messages": "conversations", "images": "images"}},
    ),
    "half-a-pair": ('[{"instruction": "\\ud800", "input": "", "output": "a"}]', {}),
    "number-system": (
        [GOOD | {"system": 5}],
        {"columns": {"prompt": "instruction", "response": "output", "system": "system"}},
    ),
    "folder-clash": ({"a.json": [GOOD], "b.json": [GOOD | {"more": "x"}]}, {}),
    "folder-types": ({"a.json": [GOOD], "b.csv": "instruction,input,output\\na,b,c\\n"}, {}),
    "empty-folder": ({}, {}),
    "text": ([GOOD], {"file_name": "text.txt"}),
    "validation": ([GOOD], {"split": "validation"}),
}
CASES = LOAD | SPECIAL | FAIL


def write(file, content):
    file.write_text(content if isinstance(content, str) else "".join(json.dumps(each) + "\n" for each in content))


@pytest.fixture
def data(folder):
    """Return a LLaMA-Factory `data` folder with all cases."""
    place = folder / "data"
    place.mkdir()
    entries = {}
    for name, (content, keys) in CASES.items():
        ending = "" if isinstance(content, dict) else ".json"
        entries[name] = keys if name == "no-file-name" else {"file_name": f"{name}{ending}"} | keys
        if isinstance(content, dict):
            (place / name).mkdir()
            for file, inside in content.items():
                write(place / name / file, inside)
        elif content is not None:
            write(place / entries[name]["file_name"], content)
    (place / FILE).write_text(json.dumps(entries, indent=2))
    return place


def test_datasets_of_every_case_are_judged_as_listed(data):
    found = {
        verdict.name: (verdict.backends["llamafactory"].loads, verdict.backends["xtuner"].loads)
        for verdict in check_datasets(data)
    }
    wanted = dict.fromkeys(LOAD, ("yes", "yes")) | dict.fromkeys(SPECIAL, ("yes", "no"))
    assert found == wanted | dict.fromkeys(FAIL, ("no", "no"))


def test_reasons_name_the_first_record_that_does_not_fit(data):
    (wrong, special) = check_datasets(data, ["half-a-pair", "tools"])
    line = "records that do not fit: 1; the first, half-a-pair.json element 1: holds half of a surrogate pair"
    assert wrong.backends["llamafactory"].reasons == wrong.backends["xtuner"].reasons == (line,)
    assert special.backends["llamafactory"].reasons == ()
    assert (
        special.backends["xtuner"].reasons[0].startswith("records that do not fit: 1; the first, tools.json line 1: `")
    )


def test_broken_entry_of_ours_is_judged_unloadable_with_its_name(folder):
    write(folder / "a.json", [GOOD])
    (folder / FILE).write_text(json.dumps({"a": {"file_name": "a.json", "ftbridge": {"files": 5}}}))
    (verdict,) = check_datasets(folder)
    assert (verdict.backends["llamafactory"].loads, verdict.backends["xtuner"].loads) == ("no", "no")
    assert "the entry `a`" in " ".join(verdict.backends["llamafactory"].reasons)


def test_samples_that_a_file_cannot_hold_are_noted_for_each_part(lines):
    off = [ASKED[0], ASKED[1] | {"train": False}]
    rows = [[*ASKED, *off], [*off, *ASKED], ASKED, ASKED]
    convert(lines(*({"messages": row} for row in rows)), split="train=3,test=1", shuffle=False)
    train, test = check_datasets(Path("data"), ["faq"])
    assert (train.notes, test.notes) == (
        ("2 samples are not in the file for alpaca, which cannot hold answers that are not learned",),
        (),
    )
    assert {support.loads for support in train.backends.values()} == {"yes"}
    file = Path("data/faq-train.alpaca.jsonl")
    file.write_text(file.read_text() * 2)
    assert "it holds 2 samples, and 1 was converted" in check_datasets(Path("data"), ["faq-train"])[0].notes[-1]


def test_data_that_stands_in_messages_alone_is_loaded_for_ready_tokens(lines):
    convert(lines({"messages": [*ASKED, ASKED[0], ASKED[1] | {"loss": 0}]}))
    (found,) = check_datasets(Path("data"))
    assert {support.loads for support in found.backends.values()} == {"yes"}
    assert "it has no file that LLaMA-Factory reads by itself, with `--tokens native`" in found.notes
    Path("data/faq-train.messages.jsonl").write_text("{}\n")
    (found,) = check_datasets(Path("data"))
    assert found.backends["llamafactory"].loads == "no"


def test_edited_file_is_noted_with_both_counts_and_each_file_judged_alone(lines, folder):
    convert(lines(GOOD, GOOD | {"instruction": "how?"}), name="faq")
    place = folder / "data"
    (verdict,) = check_datasets(place)
    assert verdict.notes == ()
    turns, alpaca = place / "faq-train.xtuner.jsonl", place / "faq-train.alpaca.jsonl"
    turns.write_text(turns.read_text().splitlines()[0] + "\n")
    alpaca.write_text(alpaca.read_text() + '{"instruction": "a"}\n')
    known = json.loads((place / FILE).read_text())
    known["faq-train"]["num_samples"] = 9
    (place / FILE).write_text(json.dumps(known))
    (verdict,) = check_datasets(place)
    assert (verdict.backends["llamafactory"].loads, verdict.backends["xtuner"].loads) == ("no", "yes")
    entry, first, second = verdict.notes
    assert entry == "its entry in dataset_info.json has been changed since ftbridge wrote it"
    for note, file, other, count in ((first, alpaca, turns, 3), (second, turns, alpaca, 1)):
        assert note == (
            f"`{file.name}` has been changed since ftbridge wrote it: it holds "
            f"{counted(count, 'sample')}, and 2 were converted; "
            f"an edit there does not reach `{other.name}` and `faq-train.messages.jsonl`"
        )


@pytest.mark.framework
def test_frameworks_load_what_check_passes_and_refuse_the_rest(data, project, training_python):
    """What loads is loaded whole, and what does not is refused, or loses samples."""
    files = {}
    for name in LOAD:
        ready = resolve_dataset(data, name, "xtuner", data.parent / "cache")
        files[name] = str(ready.folder / ready.entry.files["xtuner"])
    for name in FAIL | SPECIAL:
        with pytest.raises(InputError):
            resolve_dataset(data, name, "xtuner", data.parent / "cache")
    turns = [{"conversation": [{"system": "", "input": "when?", "output": f"2024-01-0{day}"}]} for day in (1, 2)]
    write(data / "dates.jsonl", turns)
    job, output = data.parent / "job.json", data.parent / "answers.json"
    model = str(project / "base")
    settings = {
        "folder": str(data),
        "model": model,
        "names": list(CASES),
        "files": files | {"dates": str(data / "dates.jsonl")},
        "output": str(output),
    }
    job.write_text(json.dumps(settings))
    subprocess.run(
        [training_python, HERE / "frameworks_check.py", job],
        env=os.environ | CHILD_ENV | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(SCRIPTS)},
        check=True,
    )
    answers = json.loads(output.read_text())
    assert "TypeError" in answers["xtuner"].pop("dates")  # times are no text: `check` says so of our files too
    samples = {name: len(content) for name, (content, _) in CASES.items() if isinstance(content, list | dict)}
    samples |= {"array-of-dates": 2, "slice": 1, "drawn": 3}
    kept = {name: answers["llamafactory"][name] == samples.get(name, 1) for name in CASES}
    assert {name: answers["llamafactory"][name] for name in LOAD | SPECIAL if not kept[name]} == {}
    # LLaMA-Factory takes the half of a pair out: the sample stays, but not its text.
    assert {name: answers["llamafactory"][name] for name in FAIL if kept[name]} == {"half-a-pair": 1}
    assert [
        (sample["_system"], [message["content"] for message in sample["_prompt"] + sample["_response"]])
        for sample in answers["aligned"]["our-sharegpt"]
    ] == [("be kind", ["hi", "hello", "why?\nnow", "so"]), ("", ["how?", "thus"])]
    assert {name: answer for name, answer in answers["xtuner"].items() if answer != samples[name]} == {}
