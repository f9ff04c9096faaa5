"""What is told of a training."""

from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.project import Project
from ftbridge.evaluation.record import load_evaluation
from ftbridge.evaluation.report.runs.training import runs_table, trained
from ftbridge.evaluation.report.words import Words
from ftbridge.launchers.runs.record import load_run
from tests.builders.runs import loss_records, record_run
from tests.builders.trained_runs import trained as trained_on

EN = Words("en")


@pytest.fixture
def told(news):
    """Return what is told of the run `news-lora`."""
    file = news.runs / "news-lora" / "evaluations" / "news-test" / "evaluation.json"
    return trained(news, load_run(news.runs / "news-lora"), [load_evaluation(file)], EN)


def test_what_was_trained_on_what(told):
    settings, data = dict(told.settings.rows), dict(told.data.rows)
    assert settings["Base model"] == "models/Qwen2.5-0.5B-Instruct"
    assert dict(told.details.rows)["Method"] == "QLoRA, rank 64, alpha 16, 4 bit"
    assert settings["Time"] == "21 min 30 s"
    assert dict(told.details.rows)["Optimizer steps"] == "45 / 45"
    assert (settings["Epochs"], data["Training samples"]) == ("3", 480)
    assert (data["Rows read"], data["Rows rejected"], data["Duplicates left out"]) == (643, 31, 12)
    assert data["Made of"] == "news.xlsx"


@pytest.mark.parametrize(
    ("language", "name", "share"),
    [
        ("en", "Trainable parameters", "1,081,344 of 495,114,112 (0.22\u202f%)"),
        ("zh", "可训练参数", "1,081,344 / 495,114,112（0.22\u202f%）"),
    ],
)
def test_how_much_was_trained(news, language, name, share):
    run = load_run(news.runs / "news-lora")
    run = msgspec.structs.replace(run, trained_parameters=1_081_344, parameters=495_114_112)
    assert dict(trained(news, run, [], Words(language)).settings.rows)[name] == share


def test_why_rows_were_rejected_the_commonest_reason_first(told):
    assert told.rejected.rows[0] == ("label: output is empty", 24)


def test_losses_of_training_and_validation_are_two_curves(told):
    assert [curve.name for curve in told.losses.curves] == ["Training loss", "Validation loss"]
    assert told.losses_told.startswith("Here the validation loss ended at ")
    assert told.losses_told.endswith(": no sign of learning by heart.")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((2.0, 1.0, 1.5), "lowest at step 2 (1.0000) and rose to 1.5000"),
        ((2.0, 1.0, 1.04), "no sign of learning by heart"),
        ((2.0,), "no validation loss was logged"),
    ],
)
def test_what_the_losses_tell_is_said(news, values, words):
    metrics = [{"step": at, "validation_loss": value, "attempt": 1} for at, value in enumerate(values, 1)]
    assert words in trained(news, record_run(news, "odd", metrics=metrics, dataset="news-train"), [], EN).losses_told


def test_the_commands_do_it_again(told):
    convert, train, evaluate = told.commands
    assert convert == "ftbridge convert news.xlsx --name news --split 8:1:1 --on-error skip"
    assert train.startswith("ftbridge train --backend xtuner --model models/Qwen2.5-0.5B-Instruct --dataset news-train")
    assert "--tokens native" in train
    assert evaluate.startswith("ftbridge evaluate news-lora --dataset news-test --before --task classification")


def test_a_conversion_of_after_the_training_is_not_told_as_that_of_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("faq.jsonl").write_text("".join(f'{{"question": "q{at}", "answer": "a"}}\n' for at in range(20)))
    ftbridge.convert("faq.jsonl", split="7:3", seed=42)
    run = trained_on("faq")
    convert, _train = trained(Project.find(), run, [], EN).commands
    assert convert == "ftbridge convert faq.jsonl --name faq --split 7:3"
    ftbridge.convert("faq.jsonl", split="7:3", seed=7, replace=True)
    told = trained(Project.find(), run, [], EN)
    assert told.commands[0].startswith("# faq-train was converted anew or changed after this training; ")
    assert told.commands[1].startswith("ftbridge train ")
    assert "Rows read" not in dict(told.data.rows)


def test_commands_are_quoted_for_a_shell(news):
    odd = {"model": "my $(rm -rf) model", "lora_targets": ("q_proj", "v_proj"), "set": {"a": "b c"}, "packing": True}
    run = record_run(news, "odd", dataset="news-train", gradient_checkpointing=False, learning_rate=1e-5, **odd)
    command = trained(news, run, [], EN).commands[1]
    assert "--model 'my $(rm -rf) model'" in command
    assert "--lora-targets q_proj,v_proj" in command
    assert "--set 'a=b c'" in command
    assert "--packing" in command
    assert "--no-gradient-checkpointing" in command
    assert "--learning-rate 1e-05" in command


def test_a_run_without_losses_dataset_or_end_is_told_as_far_as_it_goes(news):
    run = record_run(news, "gone", "failed", dataset="no-such-dataset")
    told = trained(news, run, [], EN)
    assert told.losses is None
    assert told.rejected is None
    assert dict(told.data.rows)["Training samples"] == run.samples
    assert len(told.commands) == 1


def test_lengths_come_from_the_record_beside_the_tokens(news):
    run = msgspec.structs.replace(load_run(news.runs / "news-lora"), tokens=("key",))
    folder = news.folder / ".ftbridge" / "tokens" / "key"
    folder.mkdir(parents=True)
    counts = {"conversations": 10, "samples": 10, "rows": 10, "tokens": 5000, "answer_tokens": 700, "longest": 900}
    (folder / "fingerprint.json").write_bytes(msgspec.json.encode({"counts": counts | {"cut_turns": 2}}))
    data = dict(trained(news, run, [], EN).data.rows)
    assert data["Tokens in all"] == 5000
    assert data["Tokens per sample, on average"] == 500
    assert data["Longest sample, in tokens"] == 900
    assert data["Samples cut to the cutoff length"] == 2


@pytest.mark.parametrize(("visible", "device"), [("", "the CPU"), ("GPU-1,GPU-2", "2 GPU")])
def test_where_it_ran_is_what_it_was_shown(news, visible, device):
    run = load_run(news.runs / "news-lora")
    run = msgspec.structs.replace(
        run, launch=msgspec.structs.replace(run.launch, env={"CUDA_VISIBLE_DEVICES": visible})
    )
    assert dict(trained(news, run, [], EN).environment.rows)["Trained on"] == device


def test_runs_stand_in_a_table(news):
    other = record_run(news, "other", "interrupted", metrics=loss_records(3.0, 2.0), dataset="news-train")
    table = runs_table((load_run(news.runs / "news-lora"), other), EN)
    assert [row[0] for row in table.rows] == ["news-lora", "other"]
    assert table.rows[1][1] == "interrupted"
    assert table.rows[1][table.header.index("Training loss")] == 2.0
