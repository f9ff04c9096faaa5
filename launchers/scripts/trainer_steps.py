"""transformers' side of step_control.py: a Trainer that tells of its steps, and saves and ends where it is asked."""

import sys
from pathlib import Path
from typing import Any

from step_control import StepControl
from transformers import TrainerCallback


def stoppable(trainer: type[Any]) -> type[Any]:
    """Return a class as `trainer`, transformers' Trainer or one of its kind, whose `train` can be stopped.

    Stopped, the process ends with status 0 once its checkpoint is whole: nothing is saved as a finished training's.
    """

    class Stoppable(trainer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.control_of_steps = StepControl(Path(self.args.output_dir).parent)
            self.add_callback(_StepCallback(self.control_of_steps))

        def train(self, *arguments: Any, **options: Any) -> Any:
            result = super().train(*arguments, **options)
            if self.control_of_steps.stopped:
                sys.exit()
            return result

    return Stoppable


class _StepCallback(TrainerCallback):
    """Tells of each micro batch, and has the Trainer save and end where that is asked."""

    def __init__(self, control: StepControl) -> None:
        self.control, self.is_stopping = control, False
        self.batches = 0  # of the step that is going on

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell where the training begins, which is its last step where it is resumed."""
        self.control.begin(state.global_step)

    def on_substep_end(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell of a micro batch."""
        self.batches += 1
        self.control.report(state.global_step + self.batches / args.gradient_accumulation_steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell of a step; where that is asked, and it is not the last, have it saved, and end."""
        self.batches = 0
        if state.global_step < state.max_steps and self.control.must_stop():
            self.is_stopping = control.should_log = control.should_save = control.should_training_stop = True
        self.control.report(state.global_step)

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell that the training ends with this checkpoint, where it was asked to."""
        if self.is_stopping:
            self.control.stopped = True
            self.control.report(state.global_step, surely=True)

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell where the training ends."""
        self.control.report(state.global_step, surely=True)
