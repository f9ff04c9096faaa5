"""A training that is stopped and resumed, beside one that was not."""

from typing import Any

from gpu_parts.bench import Bench, Row
from gpu_parts.trainings import alone

from ftbridge.core.errors import FrameworkError, InterruptedRun
from ftbridge.launchers import runs
from ftbridge.launchers.metrics import Record, curve, points
from ftbridge.launchers.train import prepare, start, train

STEPS, SAVED = 60, 6


def resumed(bench: Bench, backend: str) -> Row:
    """Return what the uninterrupted training took, and how far the losses after the resumption are from its."""
    options: dict[str, Any] = {**bench.defaults, "backend": backend, "max_steps": STEPS, "save_steps": SAVED}
    row = alone(bench, **options)
    ready = prepare(**options)
    whole = dict(points(curve(runs.by_id(ready.project, row["run"])), "loss"))

    def stop(record: Record) -> None:
        if record["step"] > SAVED:
            raise KeyboardInterrupt

    try:
        start(ready, report=stop)
    except InterruptedRun:
        stopped = runs.all_runs(ready.project)[-1]
    else:
        raise FrameworkError("the training was over before it could be stopped")
    run = train(resume=stopped.id, report=lambda _record: None)
    again = dict(points(curve(run), "loss"))
    gap = max(abs(again[step] - loss) for step, loss in whole.items() if step > SAVED and step in again)
    return {**row, "loss": f"{row['loss']}; resumed within {gap:.4f} of it"}
