"""A project whose sweeps are trained and answered by stand-ins: what is tested is what becomes of their points."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import ftbridge
from ftbridge.core.errors import FtbridgeError
from ftbridge.core.project import Project
from ftbridge.evaluation.judge import Written
from ftbridge.evaluation.record import load_evaluation
from ftbridge.experiments.sweep import evaluate_points, train_points

from ...builders.evaluations import LABELS, draw, evaluation  # noqa: TID252
from ...builders.models import write_model  # noqa: TID252
from ...builders.runs import loss_records, record_run  # noqa: TID252


class Trainings:
    """Stands for the frameworks: notes what was trained and evaluated, and fails or is stopped where it is told."""

    def __init__(self):
        self.trained, self.evaluated, self.fails = [], [], {}

    def prepare(self, planned, _before):
        self.number = len(list(Project.find().runs.glob("*"))) + 1
        folder = Project.find().runs / f"run-{self.number}"
        return SimpleNamespace(
            plan=SimpleNamespace(spec=planned.spec, run=folder), python=Path("python"), project=Project.find()
        )

    def start(self, ready, *, preflight):
        spec = ready.plan.spec
        self.trained.append((spec.datasets[0].name, spec.lora_rank, spec.seed, preflight))
        if error := self.fails.get(spec.lora_rank):
            record_run(ready.project, ready.plan.run.name, "failed")
            raise error
        return record_run(ready.project, ready.plan.run.name, dataset=spec.dataset_text, metrics=loss_records(0.5, 0.1))

    def evaluate(self, *runs, **_options):
        self.evaluated.append([Path(run).name for run in runs])
        files = []
        for run in runs:
            rows = draw(60, LABELS, 0.6 + int(Path(run).name[-1]) / 20, 1)
            place = Path(run) / "evaluations" / "news-test"
            place.mkdir(parents=True, exist_ok=True)
            files.append(evaluation(place, rows, title=Path(run).name, baselines=False))
        return SimpleNamespace(evaluations=tuple(Written(str(file), load_evaluation(file)) for file in files))


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    """Stand in a project with news and a small model; returns the stand-in for what trains and answers."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("base"))
    Path("news.csv").write_text("question,answer\n" + "\n".join(f"news {n},{LABELS[n % 3]}" for n in range(40)))
    Path("ftbridge.yaml").write_text("backend: xtuner\nmodel: base\n")
    ftbridge.convert("news.csv", split="3:1")
    stand_in = Trainings()
    monkeypatch.setattr(train_points, "prepare_planned", stand_in.prepare)
    monkeypatch.setattr(train_points, "preflight_checks", lambda *_: [])
    monkeypatch.setattr(train_points, "start", stand_in.start)
    monkeypatch.setattr(evaluate_points, "evaluate", stand_in.evaluate)
    return stand_in


def failure(text):
    """Return an error of a training."""
    return FtbridgeError(text)
