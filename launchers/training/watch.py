"""A training while it runs: followed, shown, and judged at its end by its exit status and its checkpoints."""

import math
import signal
from collections.abc import Callable

from ftbridge.core.errors import FrameworkError, FtbridgeError, InterruptedRun, SetupError
from ftbridge.core.plugins import Backend, load_backend
from ftbridge.language import english
from ftbridge.language import gettext as _
from ftbridge.launchers.process import steps
from ftbridge.launchers.process.child import execute
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.summary import summarise_run
from ftbridge.launchers.runs.training_log import Record, TrainingLog
from ftbridge.launchers.training.failures import failure_message, failure_reason
from ftbridge.launchers.training.progress import Reporter, expected_time, reporter
from ftbridge.launchers.training.resume import CheckpointLedger, resumable_checkpoints


def watch(
    run: Run,
    callback: Callable[[Record], object] | None = None,
    started: Callable[[], None] | None = None,
    begin: float = 0,
) -> Run:
    """Run the launch of `run`, wait for its end, and return the run with its status; raises as `train` does.

    `callback` is called with each record of metrics.jsonl as it comes, `started` twice a second while the framework's
    process is there; `begin` is the step that it goes on from.
    """
    backend = load_backend(run.spec.backend)
    run = run.watched()
    steps.forget(run.path)
    training_log, ledger = TrainingLog(run, backend), CheckpointLedger(run, backend)
    log = run.path / "log.txt"
    log_start = log.stat().st_size if log.exists() else 0
    stopping = _Stopping(run, begin)
    try:
        with reporter(run.steps, callback, begin=begin, expected=expected_time(run)) as shown:

            def follow() -> None:
                if started:
                    started()
                for record in training_log.update():
                    shown.update(record)
                stopping.follow(shown)
                ledger.update()

            try:
                code = execute(run.launch, log, follow, stopping.ask)
            finally:
                run.release()
                stopping.show_steps(shown)
            for record in training_log.update():
                shown.update(record)
            stopping.follow(shown)
            if code == 0 and not stopping.has_saved:
                # What is logged last may be a part of a step before the end; where it stops early, it tells of itself.
                shown.reach(math.ceil(stopping.step) if run.spec.early_stopping else run.steps)
        run = ledger.update(ended=code != 0 or stopping.has_saved)
    except KeyboardInterrupt:
        raise stopping.end(ledger.update(ended=True), backend) from None
    except Exception as error:  # our own failing must not leave a run that seems to go on
        failed = ledger.update(ended=True).end("failed", getattr(error, "exit_code", 1))
        if isinstance(error, SetupError) and failed.checkpoints:
            raise SetupError(
                _(
                    "{error}. The training was stopped; fix this, then resume with `ftbridge train --resume {id}`"
                ).format(error=error, id=run.id)
            ) from error
        raise
    finally:
        steps.forget(run.path)
    if stopping.has_saved:
        raise stopping.end(run, backend)
    return _end_run(run, backend, code, log_start)


class _Stopping:
    """A training that is stopped by a signal: it saves at the end of its step where it tells of its steps."""

    def __init__(self, run: Run, begin: float) -> None:
        self._run, self._signal, self._progress = run, 0, steps.Progress(begin, begin)
        self._is_told = True

    @property
    def step(self) -> float:
        """Return the steps that are done."""
        return self._progress.step

    @property
    def has_saved(self) -> bool:
        """Tell whether the training has saved, and ended for that it was stopped."""
        return self._progress.stopped

    def ask(self, number: int) -> bool:
        """Ask the training to save and end, because of a signal; returns whether it will.

        With no step done there is nothing to save.
        """
        self._signal = number
        self._progress = steps.read_progress(self._run.path) or self._progress
        if self._progress.step - self._progress.begin < 1:
            return False
        try:
            steps.ask_to_stop(self._run.path)
        except FtbridgeError:  # the disk is full
            return False
        self._is_told = False
        return True

    def follow(self, shown: Reporter) -> None:
        """Show how far the training has come, and, once, that it is about to end."""
        self.show_steps(shown)
        if not self._is_told:
            self._is_told = True
            shown.stop(_("Interrupted: saving at the end of this step. Press Ctrl-C again to stop without saving."))

    def show_steps(self, shown: Reporter) -> None:
        """Show how far the training has come."""
        if progress := steps.read_progress(self._run.path):
            self._progress = progress
            shown.reach(progress.step)

    def end(self, run: Run, backend: Backend) -> InterruptedRun:
        """Put on record that the run was stopped, and why; returns the error that says what was saved."""
        run = run.end("interrupted", InterruptedRun.exit_code, english(self._reason()), int(self.step))
        done = _("Interrupted at step {step} of {steps}").format(step=summarise_run(run).step, steps=run.steps)
        saved = resumable_checkpoints(run, backend)
        if not saved:
            text = _("{interrupted}. No checkpoint was saved: this run cannot be resumed.")
            return InterruptedRun(text.format(interrupted=done))
        step = backend.checkpoint_step(saved[-1], run.spec.gradient_accumulation_steps)
        return InterruptedRun(
            _("{interrupted}; saved at step {saved}: resume with `ftbridge train --resume {id}`").format(
                interrupted=done, saved="?" if step is None else f"{step:g}", id=run.id
            )
        )

    def _reason(self) -> str:
        if self._signal == signal.SIGHUP:
            return _("ended with its terminal; with --detach it goes on")
        return _("stopped by SIGTERM") if self._signal == signal.SIGTERM else _("stopped by Ctrl-C")


def _end_run(run: Run, backend: Backend, code: int, log_start: int) -> Run:
    """Return the run as succeeded: its process ended with 0 and left a checkpoint. Raises FrameworkError otherwise.

    What this attempt wrote begins at byte `log_start` of the log.
    """
    if code == 0 and backend.checkpoints(run.path):
        return run.end("succeeded", 0)
    how = _("ended with exit status {code}").format(code=code) if code else _("ended without a readable checkpoint")
    run = run.end("failed", code, failure_reason(run.path / "log.txt", code, log_start) or str(english(how)))
    raise FrameworkError(
        _("{title} {how}{failure_message}").format(
            title=backend.title, how=how, failure_message=failure_message(run.path / "log.txt", code, log_start)
        )
    )
