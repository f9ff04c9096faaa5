"""The losses of runs in one plot."""

import sys
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from ftbridge.core.errors import SetupError
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.runs.charts.loss_plot import LossPlot

from ....builders.runs import record_run  # noqa: TID252


@pytest.fixture
def runs(tmp_path):
    """Return runs of both frameworks that logged the same training: one in quarters of steps, one in whole ones."""
    project = Project(tmp_path, Settings())
    parts = [{"step": n / 4, "loss": 5.0 - n / 4} for n in range(1, 13)]
    whole = [{"step": n, "loss": 5.375 - n} for n in range(1, 4)]
    validation = {"step": 2, "validation_loss": 2.5}
    return [
        record_run(project, "one", metrics=[*parts, validation]),
        record_run(project, "other", backend="llamafactory", metrics=whole, model="/models/药-base"),
        record_run(project, "none", metrics=[]),
    ]


def missing():
    raise SetupError("no training environment here")


def test_both_frameworks_losses_are_on_the_same_steps(runs):
    plot = LossPlot(runs, missing)
    assert plot.curves["one"]["training"] == plot.curves["other"]["training"] == [(1, 4.375), (2, 3.375), (3, 2.375)]
    assert plot.curves["one"]["validation"] == [(2, 2.5)]
    assert "none" not in plot.curves


def test_the_title_names_data_and_model_where_all_runs_have_the_same(runs):
    first, other, _none = runs
    assert LossPlot([first], missing).heading == "faq, base"
    more = msgspec.structs.replace(first, spec=msgspec.structs.replace(first.spec, dataset="faq,news#5"))
    assert LossPlot([first, more], missing).heading == "base"
    assert LossPlot([more, other], missing).heading == ""


def test_text_names_data_and_curves_and_takes_the_width(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    plot = LossPlot(runs, missing)
    lines = plot.splitlines()
    assert lines[0].strip() == plot.heading == "faq"
    assert [line.strip() for line in lines[-3:]] == ["* training of one", "o validation of one", "+ training of other"]
    assert max(map(cell_len, lines)) == max(map(cell_len, plot.coloured().plain.splitlines())) == 60


def test_a_run_with_a_name_is_called_by_it(runs):
    named = msgspec.structs.replace(runs[0], name="第二次")
    lines = LossPlot([named], missing).splitlines()
    assert [line.strip() for line in lines[-2:]] == ["* training of 第二次", "o validation of 第二次"]


def test_notebook_without_the_training_environment_shows_the_text(runs, capsys):
    assert LossPlot(runs, missing)._repr_png_() is None
    assert capsys.readouterr().err == "warning: no training environment here\n"
    assert LossPlot(runs[2:], missing)._repr_png_() is None


@pytest.mark.framework
def test_picture_is_drawn_from_the_same_curves(runs, training_python):
    assert LossPlot(runs, lambda: training_python)._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(SetupError, match="could not run draw"):
        LossPlot(runs, lambda: Path(sys.executable)).picture()
