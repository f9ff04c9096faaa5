"""A training that is stopped and resumed, beside one that was not."""

from gpu_parts.bench import Bench, Row
from gpu_parts.trainings import expected, measured

from ftbridge.core.errors import FrameworkError, InterruptedRun
from ftbridge.core.project import Project
from ftbridge.launchers.runs.record import Run, all_runs, find_run
from ftbridge.launchers.runs.training_log import Record, curve_points, read_curve
from ftbridge.launchers.training.prepare import Prepared, prepare
from ftbridge.launchers.training.train import start, train

STEPS, SAVED = 60, 6


def resumed(bench: Bench, backend: str) -> Row:
    """Return what the uninterrupted training took, and how far the losses after the resumption are from its."""
    ready = prepare(**{**bench.defaults, "backend": backend, "max_steps": STEPS, "save_steps": SAVED})
    row = measured(ready, expected(ready))
    whole = dict(curve_points(read_curve(find_run(Project.find(), row["run"])), "loss"))
    run = train(resume=_stopped(ready).id, callback=lambda _record: None)
    again = dict(curve_points(read_curve(run), "loss"))
    gap = max(abs(again[step] - loss) for step, loss in whole.items() if step > SAVED and step in again)
    return {**row, "loss": f"{row['loss']}; resumed within {gap:.4f} of it"}


def _stopped(ready: Prepared) -> Run:
    """Start what is prepared, and stop it once it has saved a checkpoint."""

    def stop(record: Record) -> None:
        if record["step"] > SAVED:
            raise KeyboardInterrupt

    try:
        start(ready, callback=stop)
    except InterruptedRun:
        backend = ready.plan.spec.backend
        ended = [run for run in all_runs(Project.find()) if run.spec.backend == backend]
        return next(run for run in reversed(ended) if run.status == "interrupted")
    raise FrameworkError("the training was over before it could be stopped")
