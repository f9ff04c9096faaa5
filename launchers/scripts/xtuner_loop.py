"""XTuner's training loop over ready tokens, whose losses are averaged as transformers' Trainer averages them.

The config names it; the folder of run_backend.py, which starts XTuner, is on the path there. XTuner itself takes the
mean of each micro batch, and then the mean of these: a token of a short answer would count more than one of a long.
"""

import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from xtuner.engine.runner import TrainLoop

IGNORED = -100  # the label of a token that is not trained


class TokenMeanLoop(TrainLoop):
    """Trains on the mean over all labels of an optimiser step, of all micro batches and processes together."""

    dataloader_iterator: Iterator[dict[str, Any]]  # XTuner's own, without an end

    def __init__(self, *arguments: Any, accumulation: int, **options: Any) -> None:
        """Take the number of micro batches in a step beside what XTuner's own loop takes."""
        super().__init__(*arguments, **options)
        self.accumulation = accumulation

    def run(self) -> Any:
        """Run the training; a model that takes no count of labels is left to XTuner."""
        if takes_counts(self.runner.model):
            self.dataloader_iterator = with_counts(self.dataloader_iterator, self.accumulation, self.max_iters)
        return super().run()

    def run_iter(self, data_batch: Any) -> None:
        """Train on a micro batch; its loss is logged as the mean of all processes.

        That of one process alone would tell how many of the step's labels it has, as all divide by the same count.
        """
        about = {"batch_idx": self._iter, "data_batch": data_batch}
        self.runner.call_hook("before_train_iter", **about)
        found = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        outputs = {name: value.detach().clone() for name, value in found.items()}
        for value in outputs.values():
            all_reduce(value, op="mean")
        self.runner.call_hook("after_train_iter", outputs=outputs, **about)
        self._iter += 1


def takes_counts(model: Any) -> bool:
    """Return whether transformers' Trainer would hand the count of labels to the model that XTuner has wrapped."""
    llm = (model.module if is_model_wrapper(model) else model).llm
    llm = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    if hasattr(llm, "accepts_loss_kwargs"):
        return bool(llm.accepts_loss_kwargs)
    parameters = inspect.signature(llm.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def with_counts(batches: Iterator[dict[str, Any]], accumulation: int, total: int) -> Iterator[dict[str, Any]]:
    """Yield `total` micro batches with the labels of their step, as the model divides the sum of its losses by them.

    The optimiser divides by the number of micro batches in the step once more, and the processes take their mean.
    """
    for start in range(0, total, accumulation):
        step = list(islice(batches, min(accumulation, total - start)))
        count = sum((batch["data"]["labels"][:, 1:] != IGNORED).sum() for batch in step)
        mean = torch.as_tensor(count, dtype=torch.float64)
        all_reduce(mean, op="mean")
        for batch in step:
            batch["data"]["num_items_in_batch"] = (mean / len(step)).float()
            yield batch
