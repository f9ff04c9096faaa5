"""A training while it runs: followed, shown, and judged at its end by its exit status and its checkpoints."""

from collections.abc import Callable

from ftbridge.core.errors import FrameworkError, InterruptedRun, SetupError
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.launchers.process.child import execute
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.training_log import Record, TrainingLog
from ftbridge.launchers.training.failures import failure_message
from ftbridge.launchers.training.progress import reporter
from ftbridge.launchers.training.resume import CheckpointLedger


def watch(
    run: Run, callback: Callable[[Record], object] | None = None, started: Callable[[], None] | None = None
) -> Run:
    """Run the launch of `run`, wait for its end, and return the run with its status; raises as `train` does.

    `callback` is called with each record of metrics.jsonl as it comes, `started` twice a second while the framework's
    process is there.
    """
    backend = load_backend(run.spec.backend)
    run = run.watched()
    training_log, ledger = TrainingLog(run, backend), CheckpointLedger(run, backend)
    log = run.path / "log.txt"
    log_start = log.stat().st_size if log.exists() else 0
    try:
        with reporter(run.steps, callback) as update:

            def follow() -> None:
                if started:
                    started()
                for record in training_log.update():
                    update(record)
                ledger.update()

            try:
                code = execute(run.launch, log, follow)
            finally:
                run.release()
            for record in training_log.update():
                update(record)
        run = ledger.update(ended=code != 0)
    except KeyboardInterrupt:
        ledger.update(ended=True).end("interrupted", InterruptedRun.exit_code)
        raise InterruptedRun(f"stopped; what was saved is in {run.path}") from None
    except Exception as error:  # our own failing must not leave a run that seems to go on
        failed = ledger.update(ended=True).end("failed", getattr(error, "exit_code", 1))
        if isinstance(error, SetupError) and failed.checkpoints:
            raise SetupError(
                f"{error}; the training was ended, and once that is mended `ftbridge train --resume {run.id}` goes on"
            ) from error
        raise
    return _end_run(run, backend, code, log_start)


def _end_run(run: Run, backend: Backend, code: int, log_start: int) -> Run:
    """Return the run as succeeded: its process ended with 0 and left a checkpoint. Raises FrameworkError otherwise.

    What this attempt wrote begins at byte `log_start` of the log.
    """
    if code == 0 and backend.checkpoints(run.path):
        return run.end("succeeded", 0)
    run = run.end("failed", code)
    how = f"ended with exit status {code}" if code else "ended without a readable checkpoint"
    raise FrameworkError(f"{backend.title} {how}{failure_message(run.path / 'log.txt', code, log_start)}")
