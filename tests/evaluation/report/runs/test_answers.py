"""The answers that are shown: in one pass, the telling ones first, and never all of a million in memory."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.core.errors import InputError
from ftbridge.evaluation.record import load_evaluation
from ftbridge.evaluation.report.runs.answers import HEAD, TAIL, judge_of, marked, read_answers, without_template
from tests.builders.evaluations import draw, evaluation, prediction, write_predictions


def same(answer, reference):
    return answer == reference


def files(tmp_path, after, before=()):
    """Write the answers, given as pairs of answer and reference by id, and return the files by title."""
    found = {
        "after": write_predictions(tmp_path / "after", [prediction(at, f"q{at}", *row) for at, row in after.items()])
    }
    if before:
        rows = [prediction(at, f"q{at}", *row) for at, row in before.items()]
        found["before"] = write_predictions(tmp_path / "before", rows)
    return found


def test_answers_to_the_same_question_stand_together(tmp_path):
    there = files(
        tmp_path, {1: ("a", "a"), 2: ("b", "c"), 4: ("d", "d")}, {2: ("c", "c"), 3: ("x", "x"), 4: ("e", "d")}
    )
    found = read_answers(there, same)
    assert found.titles == ("after", "before")
    assert [(row.id, row.answers[1] and row.answers[1].text) for row in found.asked] == [(1, None), (2, "c"), (4, "e")]
    assert [row.changed for row in found.asked] == [False, True, True]
    assert (found.total, found.changed) == (3, 2)


def test_only_the_first_questions_count_where_not_all_were_asked(tmp_path):
    there = files(tmp_path, dict.fromkeys(range(1, 10), ("a", "a")))
    assert read_answers(there, same, limit=4).total == 4


def test_of_too_many_those_that_changed_are_kept_and_the_rest_drawn_the_same_way(tmp_path):
    after = dict.fromkeys(range(1, 301), ("a", "a"))
    before = {at: ("b" if at % 100 == 0 else "a", "a") for at in range(1, 301)}
    found = read_answers(files(tmp_path, after, before), same, most=20)
    assert len(found.asked) == 20
    assert (found.total, found.changed) == (300, 3)
    assert {100, 200, 300} < {row.id for row in found.asked}
    assert [row.id for row in found.asked] == sorted(row.id for row in found.asked)
    assert read_answers(files(tmp_path, after, before), same, most=20) == found


def test_where_even_those_that_changed_are_too_many_some_of_them_are_shown(tmp_path):
    after, before = (dict.fromkeys(range(1, 101), (answer, "a")) for answer in "ab")
    found = read_answers(files(tmp_path, after, before), same, most=10)
    assert len(found.asked) == 10
    assert all(row.changed for row in found.asked)


def test_what_stands_around_each_question_is_not_repeated(tmp_path):
    found = read_answers(files(tmp_path, {1: ("a", "a"), 2: ("b", "b"), 11: ("c", "c")}), same)
    assert [row.question for row in found.asked] == ["q1", "q2", "q11"]
    assert found.begin.endswith("<|im_start|>user\n")
    assert found.end == "<|im_end|>\n<|im_start|>assistant\n"


def test_a_single_question_is_shown_as_it_was_asked(tmp_path):
    found = read_answers(files(tmp_path, {1: ("a", "a")}), same)
    assert "q1" in found.asked[0].question
    assert found.begin == ""


def test_different_questions_are_counted_up_to_a_number(tmp_path, monkeypatch):
    rows = [prediction(at, f"q{at % 3}", "a", "a") for at in range(1, 10)]
    there = {"after": write_predictions(tmp_path / "after", rows)}
    assert read_answers(there, same).different == 3
    monkeypatch.setattr("ftbridge.evaluation.report.runs.answers.MOST_DIFFERENT", 2)
    assert read_answers(there, same).different is None


def test_an_example_is_short_and_has_a_right_answer(tmp_path):
    rows = [prediction(1, "long " * 100, "a", "a"), prediction(2, "q2", "a", " "), prediction(3, "q3", "a", "b")]
    found = read_answers({"after": write_predictions(tmp_path, rows)}, same)
    assert (found.example.question, found.instruction) == ("q3", "Name the topic.")


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>system\nName it.<|im_end|>\n<|im_start|>user\nthe user",
        "<|start_header_id|>system<|end_header_id|>Name it.<|eot_id|><|start_header_id|>user<|end_header_id|>the user",
        "<s>[INST] <<SYS>>\nName it.\n<</SYS>>\n\nthe user [/INST]",
        "<bos><start_of_turn>user\nName it.\n\nthe user<end_of_turn>\n<start_of_turn>model\n",
        "<\uff5cbegin▁of▁sentence\uff5c>Name it.<\uff5cUser\uff5c>the user<\uff5cAssistant\uff5c>",
    ],
)
def test_what_a_template_puts_around_is_taken_away(prompt):
    assert without_template(prompt) == "Name it. the user"


def test_thoughts_are_no_answer(tmp_path):
    there = files(tmp_path, {1: ("<think>\nis it a?\n</think>\n\na", "a")})
    settings = {
        "dataset": "d", "data": "", "model": "", "prompt": "sha", "thinking": "on", "stop": [], "max_new_tokens": 9,
        "bits": None, "dtype": "float32", "device": "cpu", "labels": [], "labels_from": "",
    }  # fmt: skip
    (tmp_path / "after" / "predict.json").write_bytes(msgspec.json.encode(settings))
    assert read_answers(there, same).asked[0].answers[0].text == "a"


def test_both_ends_of_an_endless_answer_are_kept(tmp_path):
    found = read_answers(files(tmp_path, {1: ("x" * 100_000 + "end", "a")}), same)
    assert len(found.asked[0].answers[0].text) < HEAD + TAIL + 10
    assert found.asked[0].answers[0].text.endswith("end")


@pytest.mark.parametrize("content", [b"no json\n", b'{"id": 1}\n', b"\xff\xfe\n"])
def test_a_file_that_holds_no_answers_is_refused(tmp_path, content):
    (tmp_path / "predictions.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="does not hold answers, as `ftbridge predict` writes them"):
        read_answers({"after": tmp_path / "predictions.jsonl"}, same)


def test_a_label_is_right_as_the_scores_have_it(tmp_path):
    scores = load_evaluation(
        evaluation(tmp_path, draw(30, ("cat", "cat food"), 0.9, 1), labels=("cat", "cat food"))
    ).scores
    judge = judge_of(scores)
    assert judge("It is Cat Food.", "cat food")
    assert not judge("It is cat food.", "cat")


@pytest.mark.parametrize(
    ("before", "after", "gone", "come"),
    [
        ("the old house stands here", "the new house stands here", ["old"], ["new"]),
        ("阿司匹林可以止痛", "阿司匹林可以退烧", ["止痛"], ["退烧"]),
        ("the same", "the same", [], []),
        ("nothing alike at all", "völlig anders", [], []),
        ("", "a text", [], []),
    ],
)
def test_words_that_changed_are_marked_and_another_text_is_not(before, after, gone, come):
    old, new = marked(before, after)
    assert [part.text for part in old if part.changed] == gone
    assert [part.text for part in new if part.changed] == come


@settings(max_examples=50)
@given(st.text(), st.text())
def test_marking_changes_no_text(before, after):
    old, new = marked(before, after)
    assert ("".join(part.text for part in old), "".join(part.text for part in new)) == (before, after)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_answers(tmp_path):
    def peak(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        line = msgspec.json.encode(prediction(1, "q" * 200, "an answer", "a reference")) + b"\n"
        with (folder / "predictions.jsonl").open("wb") as file:
            file.writelines([line] * number)
        tracemalloc.start()
        read_answers({"after": folder / "predictions.jsonl"}, same, most=500)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(40_000) < 2 * peak(4_000)
