import shutil
import statistics

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.evaluation.record import MAIN_FIGURES
from ftbridge.evaluation.sweep.record import load_sweep
from ftbridge.evaluation.sweep.results import METRICS, results_of

from ...builders.sweeps import write_sweep  # noqa: TID252


def test_settings_are_rows_best_first_with_mean_and_spread_over_seeds(tmp_path):
    found = results_of(write_sweep(tmp_path))
    assert found.metric == "accuracy"
    assert found.varied == ("sample", "backend")
    means = [row.figures["accuracy"].mean for row in found.rows]
    assert means == sorted(means, reverse=True)
    for row in found.rows:
        values = [evaluation.scores.figures["accuracy"] for evaluation in row.evaluations]
        figure = row.figures["accuracy"]
        assert figure.seeds == len(values) == 3
        assert figure.mean == pytest.approx(statistics.fmean(each.value for each in values))
        assert figure.spread == pytest.approx(statistics.stdev(each.value for each in values))
        assert figure.low == pytest.approx(statistics.fmean(each.low for each in values))
        assert (row.status, row.training_samples) == ("done", row.values["sample"])


def test_what_a_task_is_judged_by_is_a_metric(tmp_path):
    sweep = write_sweep(tmp_path, seeds=(1,), items=20)
    assert {*MAIN_FIGURES} <= {*METRICS}
    assert {name for row in results_of(sweep).rows for name in row.figures} <= {*METRICS}


def test_by_a_loss_less_is_better(tmp_path):
    found = results_of(write_sweep(tmp_path), "loss")
    means = [row.figures["loss"].mean for row in found.rows]
    assert means == sorted(means)
    assert found.rows[0].figures["loss"].low is None
    with pytest.raises(UsageError, match="nothing was measured by `acuracy`; did you mean `accuracy`"):
        results_of(load_sweep(tmp_path / "sweeps/sizes"), "acuracy")


def test_what_failed_waits_or_was_deleted_stays_in_the_table_and_stands_last(tmp_path):
    sweep = write_sweep(tmp_path, failed={(0, 1)}, waiting={(1, 1), (1, 2), (1, 3)})
    shutil.rmtree(sweep.path / "runs" / sweep.points[-1].run)
    rows = {(row.values["sample"], row.values["backend"]): row for row in results_of(sweep).rows}
    assert rows[100, "xtuner"].status == "failed"
    assert rows[100, "xtuner"].figures["accuracy"].seeds == 2  # those that did not
    assert rows[100, "xtuner"].error.startswith("the disk is full")
    assert rows[100, "llamafactory"].status == "waiting"
    assert list(rows)[-1] == (100, "llamafactory")
    assert rows[2000, "llamafactory"].status == "waiting"


def test_before_the_evaluation_no_setting_is_best(tmp_path):
    found = results_of(write_sweep(tmp_path, asked=False))
    assert found.metric == ""
    assert {row.status for row in found.rows} == {"trained"}
