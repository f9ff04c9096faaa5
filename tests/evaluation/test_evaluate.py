"""Evaluations: what is written, what is compared, and what is told of the questions."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.dialogue.generation import Sampling
from ftbridge.evaluation.answers.folder import UNFINISHED
from ftbridge.evaluation.evaluate import _verdict, compare_evaluations
from ftbridge.evaluation.record import load_evaluation
from ftbridge.weights.card import load_card

from ..builders.evaluations import LABELS, draw, evaluation  # noqa: TID252
from .answering_model import NEWS, AnsweringModel, evaluate, predict, rows

OUT = Path("evaluations/model/all-train")


def test_answers_are_judged_and_kept_without_asking_again(model):
    found = evaluate(model)
    assert found.scores.task == "classification"
    assert (found.scores.parsed["contained"], found.scores.parsed["unparseable"]) == (5, 1)
    accuracy = found.scores.figures["accuracy"]
    assert (accuracy.value, accuracy.items, accuracy.method) == (pytest.approx(3 / 6), 6, "wilson")
    assert (found.dataset, found.model.title, found.engine.name) == ("all-train", "model", "transformers")
    assert load_evaluation(OUT) == msgspec.structs.replace(found, predictions=str(OUT.resolve() / "predictions.jsonl"))
    assert evaluate(model).scores == found.scores
    assert len(AnsweringModel.asked) == len(NEWS)
    own = ftbridge.evaluate(OUT / "predictions.jsonl").evaluations[0].evaluation
    assert own.scores == found.scores
    with pytest.raises(InputError, match=r"there is no file `no.jsonl`"):
        ftbridge.evaluate("no.jsonl")


def test_a_killed_evaluation_writes_nothing_and_goes_on(model):
    AnsweringModel.stop_after = 2
    with pytest.raises(ftbridge.InterruptedRun, match="2 new answers are kept"):
        evaluate(model)
    assert not (OUT / "evaluation.json").exists()
    assert len(rows(OUT, UNFINISHED)) == 2
    AnsweringModel.stop_after = None
    assert evaluate(model).scores.items == 6
    assert len(AnsweringModel.asked) == 6
    AnsweringModel.stop_after = 2
    with pytest.raises(ftbridge.InterruptedRun):
        evaluate(model, replace=True)
    assert not (OUT / "evaluation.json").exists()  # its answers are gone


def test_first_questions_alone_are_told_as_such(model):
    evaluate(model)
    found = evaluate(model, limit=2)
    assert (found.limit, found.scores.items) == (2, 2)


def test_two_models_are_compared_on_the_same_questions(model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    found = ftbridge.evaluate(model, other, dataset="all")
    (compared,) = found.comparisons
    assert (compared.first, compared.second, compared.items) == ("model", "other", 6)
    assert (compared.both, compared.only_first, compared.only_second, compared.neither) == (3, 0, 0, 3)
    assert compared.p_value == 1
    kept = json.loads(Path(found.file).read_text())
    assert Path(found.file) == tmp_path / "evaluations" / "all-train" / "comparison.json"
    assert kept["comparisons"] == [msgspec.to_builtins(compared)]
    with pytest.raises(UsageError, match="name each model and dataset once"):
        ftbridge.evaluate(model, model, dataset="all")


def test_what_must_not_get_worse_is_asked_of_the_base_as_well(model, tmp_path, capsys):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    msgspec.structs.replace(load_card(model), base=str(base)).save(model)
    found = ftbridge.evaluate(model, dataset="all", also=["parts"], task="classification")
    main, other = (each.evaluation for each in found.evaluations)
    assert (main.dataset, main.before, other.dataset) == ("all-train", None, "parts-test")
    assert (other.before.items, other.comparisons[-1].second) == (3, "before")
    assert found.also == {"parts-test by model": "not measurably worse"}
    assert "worse than before" not in capsys.readouterr().err


def test_fixed_prompts_are_asked_of_both_models_and_again_only_where_that_is_new(model, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    msgspec.structs.replace(load_card(model), base=str(base), system="You are a cat.").save(model)
    found = evaluate(model, before=True, prompt=["Who are you?", "Who are you?", "And I?"])
    assert [(each.prompt, each.answer, each.before) for each in found.prompts] == [
        ("Who are you?", "药", "药"),
        ("And I?", "It is Sports.", "It is Sports."),
    ]
    assert (found.scores.items, load_evaluation(OUT).prompts) == (6, found.prompts)
    asked = AnsweringModel.asked[2 * len(NEWS) :] + AnsweringModel.asked[len(NEWS) : len(NEWS) + 2]
    assert len([text for text in asked if "You are a cat." in text and "Who are you?" in text]) == 2
    AnsweringModel.asked.clear()
    assert evaluate(model).prompts == tuple(msgspec.structs.replace(each, before=None) for each in found.prompts)
    assert not AnsweringModel.asked
    again = evaluate(model, prompt=["Why?", "And I?"])
    assert [(each.prompt, each.answer) for each in again.prompts] == [("Why?", "药"), ("And I?", "It is Sports.")]
    assert len(AnsweringModel.asked) == 1
    evaluate(model, prompt=["Why?"], max_new_tokens=9, replace=True)
    assert len(AnsweringModel.asked) == 1 + len(NEWS) + 1  # other answers, other prompts


def test_a_base_that_two_models_share_is_asked_a_prompt_once(model, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    msgspec.structs.replace(load_card(model), base=str(base)).save(model)
    shutil.copytree(model, tmp_path / "other")
    found = ftbridge.evaluate(model, tmp_path / "other", dataset="all", before=True, prompt=["Who are you?"])
    answers = {(each.evaluation.prompts[0].answer, each.evaluation.prompts[0].before) for each in found.evaluations}
    assert answers == {("药", "药")}
    assert len([text for text in AnsweringModel.asked if "Who are you?" in text]) == 3


def test_prompts_that_cannot_be_asked_are_refused_before_anything_is(model):
    with pytest.raises(UsageError, match="not a server"):
        ftbridge.evaluate(model, dataset="all", endpoint="http://127.0.0.1:1", prompt=["Who are you?"])
    with pytest.raises(UsageError, match="a prompt is empty"):
        evaluate(model, prompt=[" "])
    assert not AnsweringModel.asked


def test_result_jsonl_is_written_as_predict_does(model):
    found = ftbridge.evaluate(model, dataset="all", result_jsonl=True)
    assert found.result_jsonl == (str(OUT.resolve() / "result.jsonl"),)
    predict(model, result_jsonl=True)
    assert (OUT / "result.jsonl").read_bytes() == Path("out/result.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("after", "before", "verdict"),
    [(0.5, 0.9, "worse"), (0.9, 0.5, "better"), (0.8, 0.8, "not measurably worse")],
)
def test_verdict_on_what_must_not_get_worse(tmp_path, capsys, after, before, verdict):
    rows_after, rows_before = (draw(200, LABELS, share, seed) for share, seed in ((after, 1), (before, 1)))
    found = load_evaluation(evaluation(tmp_path, rows_after, before=rows_before, baselines=False))
    assert _verdict(found) == verdict
    assert ("worse than before" in capsys.readouterr().err) == (verdict == "worse")


def test_evaluations_of_different_questions_are_not_compared(model):
    with pytest.raises(InputError, match="evaluate both on the same dataset"):
        compare_evaluations(evaluate(model), evaluate(model, "parts"))


def test_answers_as_they_stand_take_no_options_of_a_model(model):
    predict(model)
    with pytest.raises(UsageError, match="is evaluated as it is"):
        ftbridge.evaluate("out/predictions.jsonl", before=True)


@pytest.mark.framework
def test_a_model_is_better_than_its_base_and_every_checkpoint_is_judged(trained, in_project, capsys):
    """Of texts: figures for each, and the base loaded once for all adapters of it."""
    run = trained(backend="xtuner")
    found = ftbridge.evaluate(
        run.id, dataset="medqa", task="generation", checkpoint="all", before=True, limit=3, max_new_tokens=6,
        prompt=["What is aspirin for?", "Who are you?"], replace=True,
    )  # fmt: skip
    assert capsys.readouterr().err.count("loading the model") == 1
    for written in found.evaluations:
        each = written.evaluation
        assert Path(written.file).is_file()
        assert each.scores.task == "generation"
        assert {"exact_match", "chrf", "bleu", "rouge_l", "answer_length", "ended"} <= each.scores.figures.keys()
        assert (each.scores.items, each.before.items, each.limit) == (3, 3, 3)
        assert each.comparisons[-1].second == "before"
        assert [(prompted.prompt, prompted.before is None) for prompted in each.prompts] == [
            ("What is aspirin for?", False),
            ("Who are you?", False),
        ]
    with ftbridge.chat_sessions(run.id, compare=True, sampling=Sampling(max_new_tokens=6)) as talks:
        told = ["".join(talk.say("What is aspirin for?")) for talk in talks]
    last = found.evaluations[-1].evaluation.prompts[0]
    assert told == [last.before, last.answer]
    assert len(found.comparisons) == len(found.evaluations) - 1
    listed = {each.id: each.evaluations for each in ftbridge.runs.list()}[run.id]
    assert any(name.startswith("chrF on ") for name in listed)


@pytest.mark.framework
@pytest.mark.parametrize(
    ("answers", "task", "figure"),
    [
        (["good", "bad"], "classification", "macro_f1"),
        (['[{"text": "aspirin", "type": "drug"}]', '[{"text": "fever", "type": "symptom"}]'], "extraction", "f1"),
    ],
)
def test_labels_and_entities_are_told_by_the_references(trained, in_project, answers, task, figure, tmp_path):
    run = trained(backend="llamafactory")
    asked = [{"instruction": f"say it {number}", "output": answers[number % 2]} for number in range(8)]
    (tmp_path / f"{task}.json").write_text(json.dumps(asked))
    ftbridge.convert(tmp_path / f"{task}.json")
    options = {"dataset": task, "max_new_tokens": 6, "baseline": ["none"]}
    (written,) = ftbridge.evaluate(run.id, **options, before=True).evaluations
    assert written.evaluation.scores.task == task
    assert written.evaluation.scores.figures[figure].items == 8
    assert written.evaluation.before.items == 8
    (again,) = ftbridge.evaluate(run.id, **options).evaluations  # what is answered is not lost
    assert again.evaluation.comparisons == written.evaluation.comparisons


@pytest.mark.framework
def test_runs_of_both_frameworks_are_compared_listed_and_reported(trained, in_project, tmp_path, capsys):
    """What the experiment on training-set sizes does by a server for each adapter is one command."""
    one, other = trained(backend="xtuner"), trained(backend="llamafactory")
    found = ftbridge.evaluate(
        one.id, other.id, dataset="medqa", task="generation", max_new_tokens=6, name="both", replace=True
    )
    assert capsys.readouterr().err.count("loading the model") <= 1
    (compared,) = found.comparisons
    assert (compared.first, compared.second) == (one.id[:15], other.id[:15])
    assert Path(found.file) == in_project / "evaluations" / "both" / "comparison.json"
    assert ftbridge.runs.compare(one, other).evaluations == (compared,)
    made = ftbridge.report(one.id, other.id, out=tmp_path / "both.html")
    page = made.html.read_text()
    assert one.id in page
    assert other.id in page
