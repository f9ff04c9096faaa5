import contextlib
import json
import time
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, InterruptedRun, QuestionError, SetupError, UsageError
from ftbridge.core.files.atomic import locked
from ftbridge.evaluation.sweep.record import load_sweep

from ...builders.models import write_tensors  # noqa: TID252
from .conftest import failure


def sweep(**options):
    return ftbridge.sweep(**{"grid": {"sample": [4, 8], "lora_rank": [8, 16]}, "name": "sizes", **options})


def trained_ranks(trainings):
    return [rank for _, rank, _, _ in trainings.trained]


def test_every_point_is_trained_and_evaluated_once_and_the_best_is_first(trainings):
    found = sweep()
    assert [name for name, *_ in trainings.trained] == ["news-train-4", "news-train-4", "news-train-8", "news-train-8"]
    assert [first for *_, first in trainings.trained] == [True, False, False, False]  # the imports are tried once
    assert trainings.evaluated == [["run-1", "run-2", "run-3", "run-4"]]  # together, for the base is loaded once
    assert found.metric == "accuracy"
    figures = [row.figures["accuracy"].mean for row in found.rows]
    assert figures == sorted(figures, reverse=True)
    assert {row.status for row in found.rows} == {"done"}
    assert sweep() == found
    assert len(trainings.trained) == 4
    assert len(trainings.evaluated) == 1


def test_seeds_are_told_together_and_a_setting_is_found_again_by_its_content(trainings):
    found = sweep(grid={"lora_rank": [8, 16]}, seeds=[1, 2, 3])
    assert [len(row.points) for row in found.rows] == [3, 3]
    assert [seed for _, _, seed, _ in trainings.trained] == [1, 2, 3, 1, 2, 3]
    best = found.rows[0].figures["accuracy"]
    assert best.seeds == 3
    assert best.spread > 0
    assert best.low < best.mean < best.high
    sweep(grid={"train.lora_rank": [16], "train.seed": [2]})
    assert len(trainings.trained) == 6


def test_what_fails_is_told_and_stops_nothing_and_is_tried_again(trainings, capfd):
    trainings.fails = {8: failure("out of memory\nmore of it")}
    found = sweep(grid={"lora_rank": [8, 16]})
    assert [row.status for row in found.rows] == ["done", "failed"]
    assert found.rows[1].error == "out of memory\nmore of it"
    assert "point 1 failed (lora_rank=8): out of memory\n" in capfd.readouterr().err
    trainings.fails = {}
    assert {row.status for row in sweep(grid={"lora_rank": [8, 16]}).rows} == {"done"}
    assert trained_ranks(trainings) == [8, 16, 8]


def test_a_point_whose_data_cannot_be_converted_fails_alone(trainings):
    found = sweep(grid={"sample": [4, 400]})
    assert [(row.status, row.values) for row in found.rows] == [("done", {"sample": 4}), ("failed", {"sample": 400})]
    assert "400 of 30 training samples" in found.rows[1].error


def test_ctrl_c_keeps_what_is_done(trainings):
    trainings.fails = {16: InterruptedRun("stopped")}
    with pytest.raises(InterruptedRun, match="1 of 2 points are trained and kept"):
        sweep(grid={"lora_rank": [8, 16]})
    trainings.fails = {}
    sweep(grid={"lora_rank": [8, 16]})
    assert trained_ranks(trainings) == [8, 16, 16]


@pytest.mark.parametrize("text", ["this training would fail\n  disk space ...", "[Errno 28] No space left on device"])
def test_a_full_disk_ends_the_sweep_and_keeps_what_is_done(trainings, text):
    trainings.fails = {16: SetupError(text)}
    with pytest.raises(SetupError, match="the disk is full, and the sweep ends here"):
        sweep(grid={"lora_rank": [8, 16, 32]})
    assert trained_ranks(trainings) == [8, 16]
    trainings.fails = {}
    assert {row.status for row in sweep(grid={"lora_rank": [8, 16, 32]}).rows} == {"done"}
    assert trained_ranks(trainings) == [8, 16, 16, 32]


def test_a_base_that_changes_between_points_ends_the_sweep(trainings):
    def change_base(ready, *, preflight):
        write_tensors(Path.cwd().parents[1] / "base" / "model.safetensors", {"lm_head.weight": (6, 4)})
        return trainings.start(ready, preflight=preflight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftbridge.experiments.sweep.train_points.start", change_base)
        with pytest.raises(InputError, match="has changed since this sweep began"):
            sweep(grid={"lora_rank": [8, 16]})
    assert trained_ranks(trainings) == [8]


def test_many_points_are_asked_about(trainings):
    grid = {"lora_rank": [*range(1, 101)], "epochs": [*range(1, 101)]}
    with pytest.raises(QuestionError, match="this sweep has 10,000 points") as asked:
        sweep(grid=grid)
    assert asked.value.answers == {"train them all": ["--max-points", "10000"]}
    assert not trainings.trained


def test_a_metric_that_there_is_not_is_told_before_anything_is_trained(trainings):
    with pytest.raises(UsageError, match="there is no metric `acuracy`; did you mean `accuracy`"):
        sweep(metric="acuracy")
    assert not trainings.trained


@pytest.mark.parametrize("name", ["a b", "../x", "-x", "a/b", "last.one", "x\n"])
def test_a_name_is_one_of_a_folder(trainings, name):
    with pytest.raises(UsageError, match="is not a valid name for a sweep"):
        sweep(name=name)


def test_names_may_be_chinese_and_come_of_the_keys_or_of_the_file(trainings):
    assert Path(sweep(name="大小-1").folder) == Path.cwd() / "sweeps" / "大小-1"
    assert sweep(name="", grid={"lora_rank": [8, 16], "train.seed": [1, 2]}).name == "lora_rank-train-seed"
    Path("秩.yaml").write_text("grid: {lora_rank: [8]}\n", encoding="utf-8")
    assert ftbridge.sweep("秩.yaml").name == "秩"
    with pytest.raises(UsageError, match="as a file or as options"):
        ftbridge.sweep("秩.yaml", grid={"lora_rank": [8]})


def test_sources_in_a_file_are_as_seen_from_it(trainings):
    Path("plans").mkdir()
    Path("plans/sizes.yaml").write_text("convert: {sources: ../news.csv, split: '3:1'}\ngrid: {sample: [4]}\n")
    assert [row.status for row in ftbridge.sweep("plans/sizes.yaml").rows] == ["done"]


def test_two_sweeps_of_one_name_do_not_run_at_a_time(trainings):
    Path("sweeps/sizes").mkdir(parents=True)
    with locked(Path("sweeps/sizes/sweep.json").absolute()), pytest.raises(SetupError, match="another process"):
        sweep()


def test_a_sweep_is_a_project_with_the_interpreters_of_the_one_around_it(trainings):
    with Path("ftbridge.yaml").open("a") as file:
        file.write("backends: {xtuner: {python: envs/python}}\nlora_alpha: 7\n")
    sweep(grid={"lora_rank": [8]})
    written = Path("sweeps/sizes/ftbridge.yaml").read_text()
    assert str(Path("envs/python").absolute()) in written
    assert "lora_alpha" not in written


def test_a_hundred_points_that_are_done_are_told_in_a_moment(trainings):
    grid = {"lora_rank": [*range(1, 101)]}
    sweep(grid=grid)
    begun = time.monotonic()
    assert len(sweep(grid=grid).rows) == 100
    assert time.monotonic() - begun < 30  # 5 on a quiet machine; benchmarks/sweep.py measures it
    assert len(trainings.trained) == 100


def test_a_damaged_record_is_told(trainings):
    sweep(grid={"lora_rank": [8]})
    Path("sweeps/sizes/sweep.json").write_text("{")
    with pytest.raises(InputError, match="is damaged; delete it"):
        sweep(grid={"lora_rank": [8]})


def test_runs_that_were_deleted_are_trained_again(trainings):
    sweep(grid={"lora_rank": [8]})
    run = load_sweep(Path("sweeps/sizes")).points[0].run
    (Path("sweeps/sizes/runs") / run / "run.json").unlink()
    sweep(grid={"lora_rank": [8]})
    assert len(trainings.trained) == 2


def test_a_sweep_that_was_killed_knows_the_run_that_it_had_begun(trainings):
    trainings.fails = {8: SystemExit(1)}  # stands for SIGKILL: nothing more is written
    with contextlib.suppress(SystemExit):
        sweep(grid={"lora_rank": [8]})
    (point,) = json.loads(Path("sweeps/sizes/sweep.json").read_text())["points"]
    assert point["run"] == "run-1"
