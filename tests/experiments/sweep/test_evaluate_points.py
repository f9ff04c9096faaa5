import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.evaluation.answers.folder import OtherAnswersError
from ftbridge.experiments.sweep import evaluate_points


def sweep(**options):
    return ftbridge.sweep(**{"grid": {"lora_rank": [8, 16, 32, 64]}, "name": "ranks", **options})


def test_other_options_of_the_evaluation_evaluate_anew_and_train_nothing(trainings):
    sweep(grid={"lora_rank": [8]})
    sweep(grid={"lora_rank": [8]}, evaluate={"max_new_tokens": 9})
    assert len(trainings.trained) == 1
    assert len(trainings.evaluated) == 2


def test_one_that_cannot_be_evaluated_fails_alone_and_the_others_stay_together(trainings, monkeypatch):
    def evaluate(*runs, **options):
        if any(run.name == "run-2" for run in runs):
            trainings.evaluated.append("refused")
            raise InputError("the adapter is damaged")
        return trainings.evaluate(*runs, **options)

    monkeypatch.setattr(evaluate_points, "evaluate", evaluate)
    found = sweep()
    assert {row.values["lora_rank"]: row.status for row in found.rows} == {
        8: "done",
        16: "failed",
        32: "done",
        64: "done",
    }
    assert trainings.evaluated == ["refused", "refused", ["run-1"], "refused", ["run-3", "run-4"]]
    monkeypatch.setattr(evaluate_points, "evaluate", trainings.evaluate)
    assert {row.status for row in sweep().rows} == {"done"}
    assert trainings.evaluated[-1] == ["run-2"]


def test_answers_to_other_options_are_asked_anew(trainings, monkeypatch):
    asked = []

    def evaluate(*runs, **options):
        asked.append(options)
        if not options.get("replace"):
            raise OtherAnswersError("made with another max_new_tokens")
        return trainings.evaluate(*runs)

    monkeypatch.setattr(evaluate_points, "evaluate", evaluate)
    assert {row.status for row in sweep().rows} == {"done"}
    assert asked == [{}, {"replace": True}]
