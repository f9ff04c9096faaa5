"""A training that is stopped and resumed, beside one that was not."""

from gpu_parts.bench import Bench, Row
from gpu_parts.trainings import estimated_memory, run_training

from ftbridge.core.errors import FrameworkError, InterruptedRun
from ftbridge.core.project import Project
from ftbridge.launchers.runs.record import Run, all_runs, find_run
from ftbridge.launchers.runs.training_log import Record, curve_points, read_curve
from ftbridge.launchers.training.prepare import Prepared, prepare
from ftbridge.launchers.training.train import start, train

TOTAL_STEPS, SAVE_STEPS = 60, 6


def resume_training(bench: Bench, backend: str) -> Row:
    """Return what the uninterrupted training took, and how far the losses after the resumption are from its."""
    ready = prepare(**{**bench.defaults, "backend": backend, "max_steps": TOTAL_STEPS, "save_steps": SAVE_STEPS})
    row = run_training(ready, estimated_memory(ready))
    whole = dict(curve_points(read_curve(find_run(Project.find(), row["run"])), "loss"))
    run = train(resume=_stop_after_checkpoint(ready).id, callback=lambda _record: None)
    again = dict(curve_points(read_curve(run), "loss"))
    gap = max(abs(again[step] - loss) for step, loss in whole.items() if step > SAVE_STEPS and step in again)
    return {**row, "loss": f"{row['loss']}; resumed within {gap:.4f} of it"}


def _stop_after_checkpoint(ready: Prepared) -> Run:
    """Start what is prepared, and stop it once it has saved a checkpoint."""

    def stop(record: Record) -> None:
        if record["step"] > SAVE_STEPS:
            raise KeyboardInterrupt

    try:
        start(ready, callback=stop)
    except InterruptedRun:
        backend = ready.plan.spec.backend
        ended = [run for run in all_runs(Project.find()) if run.spec.backend == backend]
        return next(run for run in reversed(ended) if run.status == "interrupted")
    raise FrameworkError("the training was over before it could be stopped")
