"""What is asked of a dataset."""

import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.adapters.registered.dataset import resolve_dataset
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.evaluation.answers.questions import file_of, questions_of


def test_the_last_turn_is_the_question_and_its_answer_the_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    rows = [{"messages": [{"role": "system", "content": "s"}, *said[:count]]} for count in (4, 2)]
    Path("talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ftbridge.convert("talk.jsonl")
    data = resolve_dataset(tmp_path / "data", "talk", CONVERSATIONS, tmp_path / "cache")
    assert file_of(data) == tmp_path / "data" / "talk-train.xtuner.jsonl"
    first, second = questions_of(data)
    assert (first.id, first.system, first.turns, first.reference) == (1, "s", (("a", "b"), ("c", None)), "d")
    assert (second.id, second.turns, second.reference) == (2, (("a", None),), "b")


@pytest.mark.parametrize("half", ["system", "input", "output"])
def test_question_with_half_a_character_is_refused_with_its_sample(tmp_path, monkeypatch, half):
    monkeypatch.chdir(tmp_path)
    Path("qa.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    ftbridge.convert("qa.jsonl")
    data = resolve_dataset(tmp_path / "data", "qa", CONVERSATIONS, tmp_path / "cache")
    texts = {"system": "", "input": "a", "output": "b"}
    rows = [{"conversation": [texts]}, {"conversation": [texts | {half: "x\ud83d"}]}]
    file_of(data).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"sample 2 of `\S+` holds an invalid character \(`\\ud83d` after `x`\)"):
        list(questions_of(data))
