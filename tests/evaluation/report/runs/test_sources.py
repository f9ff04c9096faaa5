"""What is meant by what was typed, and which evaluations belong together."""

import os

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.evaluation.record import Model
from ftbridge.evaluation.report.runs.sources import find
from tests.builders.evaluations import LABELS, draw, evaluation, generation, prediction
from tests.builders.runs import record_run


def test_a_run_brings_its_evaluations(news):
    found = find(["news-lora"])
    assert [run.id for run in found.runs] == ["news-lora"]
    assert [group.first.evaluation.dataset for group in found.groups] == ["news-test"]
    assert found.groups[0].first.run == found.runs[0]


def test_without_a_source_the_last_run_that_succeeded_is_meant(news, capsys):
    assert find([]).runs[0].id == "news-lora"
    assert "using news-lora, the last run that succeeded" in capsys.readouterr().err


def test_an_evaluation_is_found_by_its_file_its_folder_and_its_run(news):
    folder = news.runs / "news-lora" / "evaluations" / "news-test"
    for source in (folder / "evaluation.json", folder, news.runs / "news-lora"):
        assert find([source]).groups == find(["news-lora"]).groups
    assert len(find(["news-lora", folder]).groups[0].members) == 1


def test_an_evaluation_of_a_folder_has_no_run(news):
    evaluation(
        news.folder / "evaluations" / "model", draw(20, LABELS, 0.5, 1), title="model", model=Model(title="model")
    )
    found = find([news.folder / "evaluations" / "model"])
    assert found.runs == ()
    assert found.groups[0].first.run is None


def test_a_run_that_was_not_evaluated_is_reported_all_the_same(news):
    record_run(news, "plain", dataset="news-train")
    found = find(["plain"])
    assert (len(found.runs), found.groups) == (1, ())


def test_runs_that_answered_the_same_questions_stand_together_and_others_apart(news):
    other = record_run(news, "other", dataset="news-train")
    evaluation(other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other")
    generation(other.path / "evaluations" / "qa", [prediction(1, "q", "a", "a")], title="other")
    groups = find(["other", "news-lora"]).groups
    assert [[each.evaluation.model.title for each in group.members] for group in groups] == [
        ["other", "news-lora"],
        ["other"],
    ]
    changed = evaluation(
        other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other", data="0" * 64
    )
    assert changed.exists()
    assert len(find(["other", "news-lora"]).groups) == 3


def test_checkpoints_stand_beside_the_end_of_their_run(news):
    folder = news.runs / "news-lora"
    for step in ("100", "50"):
        model = Model(title=f"news-lora at {step}", run="news-lora", checkpoint=step)
        evaluation(folder / f"evaluations-{step}" / "news-test", draw(60, LABELS, 0.6, 4), model=model)
    group = find(["news-lora"]).groups[0]
    assert [each.evaluation.model.title for each in group.members] == ["news-lora"]
    assert sorted(each.evaluation.model.checkpoint for each in group.checkpoints) == ["100", "50"]


def test_a_comparison_on_record_is_found_by_its_titles(news):
    other = record_run(news, "other", dataset="news-train")
    evaluation(other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other")
    first = find(["news-lora"]).groups[0].first.evaluation
    pair = msgspec.structs.replace(first.comparisons[0], first="news-lora", second="other")
    place = news.folder / "evaluations" / "news-test" / "comparison.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(msgspec.json.encode({"dataset": "news-test", "comparisons": [pair]}))
    assert find(["news-lora", "other"]).groups[0].comparisons == (pair,)
    assert find(["news-lora"]).groups[0].comparisons == ()
    os.utime(place, (1, 1))  # both were evaluated since: it is found anew
    (anew,) = find(["news-lora", "other"]).groups[0].comparisons
    assert (anew.first, anew.second, anew.items) == ("news-lora", "other", 60)
    assert anew != pair


def test_a_comparison_brings_the_evaluations_that_it_is_of(news):
    other = record_run(news, "other", dataset="news-train")
    second = evaluation(other.path / "evaluations" / "news-test", draw(60, LABELS, 0.7, 5), title="other")
    first = news.runs / "news-lora" / "evaluations" / "news-test" / "evaluation.json"
    place = news.folder / "evaluations" / "both" / "comparison.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(msgspec.json.encode({"dataset": "news-test", "evaluations": [str(first), str(second)]}))
    for source in (place, place.parent):
        found = find([source])
        assert sorted(run.id for run in found.runs) == ["news-lora", "other"]
        assert len(found.groups[0].members) == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("news-lorra", "there is no run or folder `news-lorra`; did you mean `news-lora`"),
        ("data", "there is no `evaluation.json` in `data`; `ftbridge evaluate` writes one"),
    ],
)
def test_what_is_not_there_is_said(news, source, words):
    with pytest.raises(InputError) as error:
        find([source])
    assert words in str(error.value)


def test_a_mistyped_sweep_is_told_by_the_closest_of_runs_and_sweeps(news):
    (news.folder / "sweeps" / "sizes").mkdir(parents=True)
    (news.folder / "sweeps" / "sizes" / "sweep.json").write_text("{}")
    for typed, meant in {"sizse": "sizes", "news-lorra": "news-lora"}.items():
        with pytest.raises(InputError, match=f"no run, sweep or folder `{typed}`; did you mean `{meant}`"):
            find([typed])


def test_a_damaged_evaluation_is_named(news):
    file = news.runs / "news-lora" / "evaluations" / "news-test" / "evaluation.json"
    file.write_text("{")
    with pytest.raises(InputError, match="is damaged; evaluate again"):
        find(["news-lora"])
