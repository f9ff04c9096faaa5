"""Run folders as trainings leave them, made up."""

import json
import os
from datetime import UTC, datetime, timedelta

import msgspec

from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.process.identity import process_start, this_machine
from ftbridge.launchers.runs.record import Attempt, Run

BEGIN = datetime(2026, 1, 2, tzinfo=UTC)


def record_run(project, name, status="succeeded", *, metrics=(), pid=None, steps=3, argv=("python",), **options):
    """Save and return a run called `name`, which began so many hours after midnight as it has letters."""
    begun = BEGIN + timedelta(hours=len(name))
    ended = None if status == "running" else begun + timedelta(seconds=90)
    spec = TrainSpec(**{"backend": "xtuner", "model": "base", "dataset": "faq", "tokens": "native", **options})
    made = Run(
        id=name,
        folder=str(project.runs / name),
        status=status,
        spec=spec,
        launch=Launch(argv, {}, str(project.folder), {}),
        family="qwen2",
        model="/base",
        system="",
        samples=21,
        steps=steps,
        versions={"torch": "2.8.0"},
        datasets={"faq.jsonl": "ab" * 32},
        attempts=(Attempt(begun, ended, 0 if status == "succeeded" else 1),),
        pid=pid or os.getpid(),
        pid_started=process_start(pid or os.getpid()) or 1,
        machine=this_machine(),
    ).save()
    write_metrics(made, *metrics)
    return made


def record_attempt(made):
    """Return the run with one more attempt, saved."""
    return msgspec.structs.replace(made, attempts=(*made.attempts, Attempt(BEGIN))).save()


def write_metrics(made, *records):
    """Put records into metrics.jsonl."""
    (made.path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def loss_records(*values, attempt=1, begin=1):
    """Return records of training steps."""
    return [
        {"step": step, "loss": value, "learning_rate": 1e-4, "time": step, "attempt": attempt}
        for step, value in enumerate(values, begin)
    ]
