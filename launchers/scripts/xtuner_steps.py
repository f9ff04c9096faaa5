"""mmengine's side of step_control.py: the config names this hook.

The folder of run_backend.py, which starts XTuner, is on the path there.
"""

from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from step_control import StepControl


class StepHook(Hook):
    """Tells of each iteration, and saves and ends the training at the end of a step where that is asked."""

    priority = "LOWEST"  # behind the hook that saves

    def __init__(self, accumulation: int) -> None:
        self.accumulation = accumulation

    def before_train(self, runner: Any) -> None:
        """Tell where the training begins, which is its last step where it is resumed."""
        self.control = StepControl(Path(runner.work_dir).parent)
        self.control.begin(runner.iter / self.accumulation)

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Tell of an iteration; at the end of a step that is not the last, save and end where that is asked."""
        done = batch_idx + 1
        if done % self.accumulation == 0 and done < runner.max_iters and self.control.must_stop():
            (saving,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
            if not str(saving.last_ckpt).endswith(f"iter_{done}.pth"):
                saving._save_checkpoint(runner)  # noqa: SLF001 - what it calls itself at each interval
            self.control.stopped = runner.train_loop.stop_training = True
        self.control.report(done / self.accumulation, surely=self.control.stopped)

    def after_train(self, runner: Any) -> None:
        """Tell where the training ends."""
        self.control.report(runner.iter / self.accumulation, surely=True)
