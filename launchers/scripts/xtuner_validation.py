"""What XTuner lacks for a validation set: a loop for mmengine that computes the loss, and a checkpoint at the end.

The config names these classes; the folder of run_backend.py, which starts XTuner, is on the path there.
"""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner.base_loop import BaseLoop

IGNORED = -100  # label of a token that is not trained on


class ValidationLoop(BaseLoop):
    """Computes `val_loss`: the mean over all tokens that are trained on, of all processes together.

    The sampler must keep the order and round up, as DefaultSampler does: each process then makes as many passes,
    which ZeRO-3 needs, and a sample that comes twice for it counts once.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any = None) -> None:
        super().__init__(runner, dataloader)
        self.evaluator = evaluator  # mmengine asks for one; the loss needs none

    def run(self) -> dict[str, float]:
        """Run one validation; the hooks log its result, keep the best checkpoint, and may end the training."""
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        self.runner.model.eval()
        with torch.no_grad():
            metrics = {"val_loss": self._loss()}
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    def _loss(self) -> float:
        model = self.runner.model
        preprocess = (model.module if is_model_wrapper(model) else model).data_preprocessor
        half = getattr(self.runner.optim_wrapper, "cast_dtype", None)  # AmpOptimWrapper's, on a GPU
        rank, world = get_dist_info()
        sums, position = [], rank
        for batch in self.dataloader:
            data = preprocess(batch, False)
            labels = data["data"]["labels"]
            for row in labels:
                if position >= len(self.dataloader.dataset):
                    row.fill_(IGNORED)
                position += world
            with torch.autocast("cuda", dtype=half, enabled=half is not None):
                loss = model._run_forward(data, mode="loss")["loss"]  # noqa: SLF001 - as mmengine's own steps do
            tokens = (labels[:, 1:] != IGNORED).sum()  # each token is told from those before it
            # A batch without such a token has no mean.
            sums.append(torch.stack([loss.double() * tokens if tokens else tokens.double(), tokens.double()]))
        total = torch.stack(sums).sum(dim=0)
        all_reduce(total, op="sum")
        return float(total[0] / total[1])


class LastCheckpointHook(CheckpointHook):
    """Saves the end of a training that was stopped early, too."""

    def after_train(self, runner: Any) -> None:
        """Save, unless the last step was saved already."""
        super().after_train(runner)
        saved = f"iter_{runner.iter}.pth"
        if runner.train_loop.stop_training and not str(self.last_ckpt).endswith(saved):
            self._save_checkpoint_with_step(runner, runner.iter, {"epoch": runner.epoch, "iter": runner.iter})
