"""Build what a config names with the framework's own code, and train nothing.

Runs inside the training environment, in one process: `python build_only.py SPEC.json`, with the spec of run_backend.py.
"""

import sys
from typing import Any

from run_backend import read_spec


def build_xtuner(arguments: list[str]) -> None:
    """Build tokenizer, dataset and model of a config as `xtuner train` does."""
    from mmengine.config import Config
    from xtuner.registry import BUILDER
    from xtuner.tools.train import parse_args, register_function

    sys.argv = ["train.py", *arguments]
    given: Any = parse_args()
    config = Config.fromfile(given.config)
    if given.cfg_options:
        config.merge_from_dict(given.cfg_options)
    register_function(config._cfg_dict)  # noqa: SLF001 - as XTuner's own main does
    BUILDER.build(config.tokenizer)
    if not len(BUILDER.build(config.train_dataloader.dataset)):
        raise ValueError("the dataset has no sample to train on")
    BUILDER.build(config.model)


def build_llamafactory(arguments: list[str]) -> None:
    """Build tokenizer, dataset and model of a config as `llamafactory-cli train` does."""
    sys.argv = ["llamafactory-cli", *arguments]
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer

    model_args, data_args, training_args, finetuning_args, _ = get_train_args()
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)
    load_model(loaded["tokenizer"], model_args, finetuning_args, is_trainable=True)


if __name__ == "__main__":
    spec = read_spec()
    {"xtuner": build_xtuner, "llamafactory": build_llamafactory}[spec["backend"]](spec["arguments"])
