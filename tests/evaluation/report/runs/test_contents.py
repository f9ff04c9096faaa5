"""What a report tells, whatever there is of it."""

import re
import shutil

import msgspec
import pytest

from ftbridge.evaluation.record import Engine, Model
from ftbridge.evaluation.report.runs.contents import contents_of
from ftbridge.evaluation.report.runs.sources import find
from ftbridge.evaluation.report.words import Words
from tests.builders.evaluations import LABELS, draw, evaluation, generation, prediction, write_news
from tests.builders.runs import record_run


def contents(*sources, language="en"):
    return contents_of(find(sources), Words(language))


def test_a_run_is_told_from_the_verdict_to_the_commands(news):
    found = contents("news-lora")
    result = found.results[0]
    assert (found.title, found.subtitle) == ("Did the training help?", "news-lora, tested on news-test")
    assert [row[0] for row in result.figures.rows] == [
        "After training",
        "Before training",
        "Baseline: always the class that is commonest in the training samples",
        "Baseline: word counts (TF-IDF with logistic regression)",
    ]
    assert [chart.figure for chart in result.charts] == ["accuracy", "macro_f1"]
    assert [title for title, _, _ in result.cards] == [
        "Accuracy after training", "Accuracy before training", "Test questions",
    ]  # fmt: skip
    assert result.answers.titles == ("After training", "Before training")
    assert (found.runs, len(found.trained)) == (None, 1)
    assert {"accuracy", "macro_f1", "baseline"} < set(found.terms)


def test_what_was_asked_is_said_with_an_example_and_its_right_answer(news):
    result = contents("news-lora").results[0]
    assert result.asked == "The task: sort each text into one of 6 classes: sports, finance, technology and 3 more."
    assert result.example.instruction == "Name the topic."
    assert result.example.reference in LABELS
    assert "<|" not in result.example.question


def test_questions_that_are_repeated_are_counted(news):
    rows = [prediction(at, f"q{at % 30}", "sports", "sports") for at in range(1, 121)]
    evaluation(news.folder / "again", rows)
    assert contents(news.folder / "again").results[0].checks == (
        "None of the 120 test questions was in the training data.",
        Words("en")("repeated", different="30", questions="120"),
    )
    assert contents("news-lora").results[0].checks == ("None of the 60 test questions was in the training data.",)


def test_figures_for_specialists_stand_apart(news):
    result = contents("news-lora").results[0]
    assert result.summary.header == ("Model", "Accuracy", "Macro F1", "Test questions")
    assert {"Cohen's kappa", "Macro recall"} < set(result.figures.header)


def test_notes_are_shown_in_chinese_too_with_no_blank_or_full_stop_of_english(news):
    result = contents("news-lora", language="zh").results[0]
    assert result.details[0].notes == contents("news-lora").results[0].details[0].notes != ()
    said = [result.asked, result.answered, *result.checks, *result.verdict.sentences, *result.comparisons]
    assert not [text for text in said if re.search(r"。 |[\u4e00-\u9fff]\. ?|\.$", text)]


def test_two_runs_are_told_by_their_names_and_compared(news):
    other = record_run(news, "other", dataset="news-train")
    evaluation(other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other")
    found = contents("news-lora", "other")
    result = found.results[0]
    assert [row[0] for row in result.figures.rows][:3] == ["news-lora", "other", "news-lora before training"]
    assert result.answers.titles == ("news-lora", "other", "Before training")
    assert [detail.title for detail in result.details] == ["news-lora", "other"]
    assert len(found.runs.rows) == len(found.trained) == 2


def test_pairs_are_told_in_the_words_on_record_and_in_chinese_in_its_own(news):
    other = record_run(news, "other", dataset="news-train")
    evaluation(other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other")
    pair = find(["news-lora"]).groups[0].first.evaluation.comparisons[0]
    pair = msgspec.structs.replace(pair, first="news-lora", second="other", sentence="who is better")
    place = news.folder / "evaluations" / "pair" / "comparison.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(msgspec.json.encode({"dataset": "news-test", "comparisons": [pair]}))
    assert contents("news-lora", "other").results[0].comparisons[1:] == ("who is better",)
    chinese = contents("news-lora", "other", language="zh").results[0].comparisons
    assert chinese[0].startswith("“news-lora”与“总是回答训练样本中最常见的类别”比较，共 60 道题：只有前者答对 ")
    assert chinese[1].startswith("“news-lora”与“other”比较，共 60 道题")


def test_who_computed_the_answers_is_told(news):
    engine = Engine(name="vllm", version="0.32", same_answers=19, compared=20)
    evaluation(news.folder / "vllm", draw(40, LABELS, 0.7, 5), engine=engine, seconds=75.0)
    told = contents(news.folder / "vllm").results[0].answered
    assert told.startswith(
        "Answered by vllm 0.32, at most 512 tokens an answer, in 1 min 15 s. 19 of 20 answers are the same"
    )


def test_checkpoints_have_a_table_that_ends_with_the_end(news):
    model = Model(title="news-lora at 50", run="news-lora", checkpoint="50")
    place = news.runs / "news-lora" / "evaluations-50" / "news-test"
    evaluation(place, draw(60, LABELS, 0.6, 4), model=model)
    table = contents("news-lora").results[0].checkpoints
    assert [row[0] for row in table.rows] == ["50", "end of the training"]


def test_a_run_that_nobody_has_asked_is_told_without_results(news, capsys):
    record_run(news, "plain", dataset="news-train")
    found = contents("plain")
    assert found.results == ()
    assert "nothing was measured yet" in capsys.readouterr().err


def test_answers_that_are_gone_are_named(news):
    shutil.rmtree(news.runs / "news-lora" / "evaluations" / "news-test" / "answers")
    result = contents("news-lora").results[0]
    assert result.answers is None
    assert "their file is gone" in result.missing


def test_without_the_answers_before_those_after_are_shown(news):
    shutil.rmtree(news.runs / "news-lora" / "evaluations" / "news-test" / "answers-before")
    assert contents("news-lora").results[0].answers.titles == ("After training",)


def test_a_project_that_was_moved_finds_its_answers(news, tmp_path, monkeypatch):
    folder = tmp_path / "moved"
    folder.mkdir()
    for name in ("runs", "data", "ftbridge.yaml"):
        shutil.move(tmp_path / name, folder / name)
    monkeypatch.chdir(folder)
    assert contents("news-lora").results[0].answers.titles == ("After training", "Before training")


def test_a_run_of_a_sweep_is_told_with_the_data_that_lies_in_the_sweeps_folder(news):
    folder = news.folder / "sweeps" / "sizes"
    folder.mkdir(parents=True)
    write_news(folder, items=50)
    (told,) = contents(folder / "runs" / "news-lora").trained
    assert dict(told.data.rows)["Rows read"] == 543


def test_without_baselines_or_a_before_there_is_one_row(news):
    evaluation(news.folder / "alone", draw(40, LABELS, 0.7, 5), baselines=False, model=Model(title="folder"))
    result = contents(news.folder / "alone").results[0]
    assert [row[0] for row in result.figures.rows] == ["After training"]
    assert result.comparisons == ()
    assert result.verdict.kind == "unknown"


@pytest.mark.parametrize(("language", "title"), [("en", "Result on qa-test"), ("zh", "在 qa-test 上的结果")])
def test_free_text_has_no_classes_and_is_charted_by_chrf(news, language, title):
    generation(news.folder / "qa", [prediction(at, f"q{at}", "a", "a") for at in range(1, 9)])
    found = contents(news.folder / "qa", language=language)
    result = found.results[0]
    assert [chart.figure for chart in result.charts] == ["chrf", "rouge_l"]
    assert result.details[0].heat_map is None
    assert "text" in found.terms
    assert Words(language)("result_heading", dataset="qa-test") == title


def test_several_datasets_share_the_room_for_answers(news):
    generation(news.folder / "qa", [prediction(at, f"q{at}", "a", "a") for at in range(1, 1101)])
    found = contents("news-lora", news.folder / "qa")
    assert [len(result.answers.asked) for result in found.results] == [60, 1000]
