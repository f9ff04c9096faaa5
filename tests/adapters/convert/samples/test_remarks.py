"""What is said of good samples, from one process and from several."""

import json
from pathlib import Path

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.convert.samples import workers
from ftbridge.adapters.sources.text import jsonl
from ftbridge.dataset_info.registry import find_converted


def talk(answer, question="why?", **more):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def registered(name="faq"):
    entry = find_converted(Path("data"), name)[1]
    return entry.system, entry.several_systems


@pytest.mark.parametrize("several", [False, True])
def test_system_prompt_shared_by_all_rows_is_recorded_for_the_dataset(lines, monkeypatch, several):
    monkeypatch.setattr(jsonl, "BLOCK", 500 if several else 1 << 20)
    rows = [{"question": f"q{at}", "answer": "a", "system": "be kind \N{DROMEDARY CAMEL}"} for at in range(200)]
    assert convert(lines(*rows)).system == "be kind \N{DROMEDARY CAMEL}"
    assert registered() == ("be kind \N{DROMEDARY CAMEL}", False)
    again = convert("faq.jsonl")
    assert (again.changed, again.system) == (False, "be kind \N{DROMEDARY CAMEL}")
    rows[-1]["system"] = "be rude"
    done = convert(lines(*rows), replace=True)
    assert (done.system, done.several_systems, registered()) == ("", True, ("", True))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "S"}, *talk("a")["messages"]]},
        {"conversation": [{"system": "S", "input": "q", "output": "a"}, {"input": "q", "output": "a"}]},
        {"instruction": "q", "output": "a", "system": "S"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "S"},
    ],
    ids=str,
)
@pytest.mark.parametrize("to", ["xtuner", "alpaca", "sharegpt"])
def test_shared_system_prompt_is_found_in_every_layout(lines, row, to):
    assert convert(lines(row, row), to=to).system == "S"
    assert registered() == ("S", False)


@pytest.mark.parametrize(
    ("systems", "option", "expected"),
    [
        (["S", ""], None, ("", True)),
        (["S", None], None, ("", True)),
        (["S", ""], "S", ("S", False)),
        (["S", ""], "T", ("T", True)),
        (["", None], "T", ("T", False)),
        (["", None], None, ("", False)),
        (["S", "\\u0053"], None, ("S", False)),
    ],
)
def test_rows_without_a_system_prompt_count_as_another_prompt(folder, systems, option, expected):
    texts = [json.dumps({"q": str(at), "a": "a", "system": each}) for at, each in enumerate(systems)]
    Path("faq.jsonl").write_text("\n".join(texts).replace("\\\\u", "\\u"))
    convert("faq.jsonl", system=option)
    assert registered() == expected


def test_parts_of_a_source_have_system_prompts_of_their_own(folder):
    Path("faq").mkdir()
    for part, system in (("train", "S"), ("test", "T")):
        Path("faq", f"{part}.jsonl").write_text(json.dumps({"q": part, "a": "a", "system": system}) + "\n")
    done = convert("faq", sample="1")
    assert (done.system, done.several_systems) == ("S", False)
    assert [registered(f"faq-{name}")[0] for name in ("train", "test", "train-1")] == ["S", "T", "S"]
    assert convert("faq", name="mixed", split=None, map={"instruction": "q", "output": "a"}).system == ""


@pytest.mark.parametrize("to", ["xtuner", "alpaca", "sharegpt"])
@pytest.mark.parametrize("processes", [1, 2])
def test_thoughts_and_placeholders_are_counted_and_the_first_is_named(lines, monkeypatch, to, processes):
    monkeypatch.setattr(jsonl, "BLOCK", 700)
    monkeypatch.setattr(workers, "MOST_WORKERS", processes)
    rows = [talk(f"answer {at}", "is 1 < 2, and <b>bold</b>, <img src='a'>?") for at in range(150)]
    rows[100] = talk("<think>hm</think>so")
    rows[120] = talk("hm</think>so", "what is <think>?")
    rows[130] = talk("so", "<image>\nwhat is in <image>?")
    rows[140] = talk("so", "what says <|audio_1|>?")
    rows[110] = talk("")  # which is rejected
    thoughts, image, audio = convert(lines(*rows), to=to, on_error="skip").notes
    assert thoughts.startswith(
        "2 answers hold `<think>` (the first: faq.jsonl line 101); with `--tokens native` the frameworks"
    )
    assert image.startswith("1 sample holds `<image>` (the first: faq.jsonl line 131), ")
    assert audio.startswith("1 sample holds `<|audio_1|>` (the first: faq.jsonl line 141), ")
    assert len(convert("faq.jsonl", to=to, on_error="skip").notes) == 3


def test_thoughts_in_every_answer_of_a_conversation_are_counted(lines):
    said = [message for _ in range(3) for message in talk("<think>a</think>")["messages"]]
    assert convert(lines({"messages": said})).notes[0].startswith("3 answers hold `<think>`")
    history = {"instruction": "q", "output": "a", "history": [["q", "<think></think>a"]]}
    assert convert(lines(history), replace=True).notes[0].startswith("1 answer holds `<think>`")


def test_thoughts_beside_answers_are_counted_whichever_format_comes_first(lines):
    said = talk("a")["messages"]
    file = lines({"messages": [said[0], said[1] | {"reasoning": "hm"}]}, {"messages": said})
    for to in ("messages,alpaca", "alpaca,messages", "messages,xtuner"):
        (note,) = convert(file, to=to.split(","), replace=True).notes
        assert note.startswith("1 answer holds `<think>` (the first: faq.jsonl line 1)")


def test_row_with_two_system_prompts_is_remarked(lines):
    own = [{"role": "system", "content": "own"}]
    rows = [talk("a", system="column"), talk("a", system="own"), talk("a", system=" "), talk("a", system=None)]
    for row in rows:
        row["messages"] = own + row["messages"]
    done = convert(lines(talk("a", system="own"), *rows))
    (note,) = done.notes
    assert "in 1 row the column `system` differs" in note
    assert "faq.jsonl line 2" in note
    assert (done.system, done.several_systems) == ("own", False)
