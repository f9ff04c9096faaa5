"""The folder of a prediction: gone on with, never mixed, never taken from others."""

import json
import os
import resource
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, InterruptedRun, SetupError
from ftbridge.evaluation.answers.folder import FILES, FINISHED, RESULT, UNFINISHED
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.hardware.nvidia import Gpu

from ..answering_model import AnsweringModel, predict, rows  # noqa: TID252


def test_interrupted_predict_goes_on_with_the_remaining_questions(model):
    AnsweringModel.stop_after = 2
    with pytest.raises(InterruptedRun, match="2 new answers are kept in out"):
        predict(model)
    assert len(rows(Path("out"), UNFINISHED)) == 2
    assert not Path("out", FINISHED).exists()
    AnsweringModel.stop_after = None
    assert predict(model).asked == 4
    assert len(AnsweringModel.asked) == len(set(AnsweringModel.asked)) == 6
    assert predict(model).asked == 0


def test_a_line_that_was_cut_is_asked_again(model):
    AnsweringModel.stop_after = 2
    with pytest.raises(InterruptedRun):
        predict(model)
    unfinished = Path("out", UNFINISHED)
    unfinished.write_bytes(unfinished.read_bytes()[:-9])
    AnsweringModel.stop_after = None
    assert predict(model).asked == 5
    assert [row["id"] for row in rows(Path("out"))] == [1, 2, 3, 4, 5, 6]


def test_a_row_that_was_cut_in_the_middle_is_asked_again(model):
    AnsweringModel.stop_after = 3
    with pytest.raises(InterruptedRun):
        predict(model)
    unfinished = Path("out", UNFINISHED)
    first, second, third = unfinished.read_bytes().splitlines(keepends=True)
    unfinished.write_bytes(first + second[:20] + third)
    AnsweringModel.stop_after = None
    assert predict(model).asked == 5
    assert [row["id"] for row in rows(Path("out"))] == [1, 2, 3, 4, 5, 6]


def test_a_disk_that_takes_half_a_row_ends_it_at_that_row(model):
    """Room for one row and a half: the system takes the half, and says that it did."""
    AnsweringModel.stop_after = 1
    with pytest.raises(InterruptedRun):
        predict(model)
    size = Path("out", UNFINISHED).stat().st_size
    AnsweringModel.stop_after = None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = max(size, *(path.stat().st_size for path in Path("out").iterdir())) + 20
    Path("out", UNFINISHED).write_bytes(Path("out", UNFINISHED).read_bytes().rjust(room - 20))
    asked = len(AnsweringModel.asked)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write `out/unfinished\.jsonl`: File too large"):
            predict(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(AnsweringModel.asked) == asked + 1
    assert predict(model).asked == 5


def test_answers_of_a_limited_predict_are_not_asked_again(model):
    assert predict(model, limit=2, result_jsonl=True).samples == 2
    found = predict(model)
    assert (found.samples, found.asked) == (6, 4)
    assert not Path("out/result.jsonl").exists()  # it told of two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"max_new_tokens": 9}, r"a change of max_new_tokens \(512, now 9\); .*`--replace`"),
        (lambda _: {"bits": 4}, r"a change of bits \(None, now 4\)"),
        (lambda _: {"dtype": "float32"}, r"a change of dtype \(auto, now float32\)"),
        (lambda model: (model / "model.safetensors").write_bytes(b"Weights") and {}, "a change of model"),
        (lambda _: ftbridge.convert("news.json", name="all", limit=5, replace=True) and {}, "a change of data"),
    ],
)
def test_answers_of_other_settings_are_not_mixed_in(model, change, message):
    predict(model)
    options = change(model)
    with pytest.raises(InputError, match=message):
        predict(model, **options)
    assert predict(model, replace=True, **options).asked in {5, 6}


def test_answers_of_another_machine_are_not_mixed_in(model, monkeypatch):
    (model / "config.json").write_text('{"dtype": "bfloat16"}')
    predict(model, limit=2, device="cpu")
    card = Gpu("Tesla T4", 15360, 7.5, "570.86.15", 14914, "GPU-1")
    monkeypatch.setattr(devices, "usable_gpus", lambda wanted: [card] if wanted != "cpu" else [])
    with pytest.raises(InputError, match=r"a change of dtype \(bfloat16, now float16\), device \(cpu, now cuda\)"):
        predict(model)
    assert predict(model, device="cpu").asked == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", ["mine", '{"learning_rate": 1}'])
def test_file_of_somebody_else_in_the_answers_folder_is_left_alone(model, name, content):
    Path("out").mkdir()
    Path("out", name).write_text(content)
    for replace in (False, True):
        with pytest.raises(InputError, match=f"out/{name}` was not written by ftbridge.*--out DIR`"):
            predict(model, replace=replace)
    assert {path.name: path.read_text() for path in Path("out").iterdir() if path.suffix != ".lock"} == {name: content}


def test_a_folder_in_the_place_of_a_file_is_left_alone(model):
    predict(model)
    Path("out", RESULT).mkdir()
    with pytest.raises(InputError, match=r"out/result\.jsonl` was not written by ftbridge"):
        predict(model, replace=True)


def test_answers_with_settings_of_another_version_can_be_replaced(model):
    predict(model)
    settings = json.loads(Path("out", "predict.json").read_text())
    del settings["labels_from"]
    Path("out", "predict.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="ask again with `--replace`"):
        predict(model)
    assert predict(model, replace=True).asked == 6


def test_damaged_answers_or_settings_are_told(model):
    predict(model)
    Path("out", FINISHED).write_text('{"id": 1}\n')
    with pytest.raises(InputError, match="does not hold answers"):
        predict(model)
    Path("out/predict.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        predict(model)


@pytest.mark.parametrize("name", FILES)
def test_pipe_in_the_answers_folder_is_not_waited_for(model, name):
    Path("out").mkdir()
    os.mkfifo(Path("out", name))
    with pytest.raises(InputError, match=rf"`out/{name}` was not written by ftbridge"):
        predict(model)
    os.mkfifo("pipe.jsonl")
    with pytest.raises(InputError, match=r"does not hold answers.*not a regular file"):
        ftbridge.evaluate("pipe.jsonl")


def test_answers_that_a_kill_left_in_both_files_are_kept_once_and_in_order(model):
    predict(model)
    lines = Path("out", FINISHED).read_text().splitlines(keepends=True)
    Path("out", UNFINISHED).write_text("".join(reversed(lines)))
    assert predict(model).samples == 6
    assert Path("out", FINISHED).read_text() == "".join(lines)
