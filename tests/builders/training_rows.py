"""Runs in the training environment: write the rows that a training with a given config would see.

`python training_rows.py BACKEND CONFIG OUT`; imports nothing of ftbridge.
"""

import json
import sys


def xtuner(config):
    """Return the dataset as XTuner's own builder makes it of a config."""
    from mends import allow_newer_transformers, give_bos_and_eos
    from mmengine.config import Config

    allow_newer_transformers()
    give_bos_and_eos([], "")
    from xtuner.registry import BUILDER

    return BUILDER.build(Config.fromfile(config).train_dataloader.dataset)


def llamafactory(config):
    """Return the dataset as LLaMA-Factory's run_sft makes it of a config."""
    import yaml
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    with open(config, encoding="utf-8") as file:  # noqa: PTH123 - short
        model, data, training, *_ = get_train_args(yaml.safe_load(file))
    loaded = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data)
    return get_dataset(template, model, data, training, stage="sft", **loaded)["train_dataset"]


def main():
    """Write ids and labels of every row as JSON."""
    _, backend, config, out = sys.argv
    rows = {"xtuner": xtuner, "llamafactory": llamafactory}[backend](config)
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123 - stdout is the framework's
        json.dump([[row["input_ids"], row["labels"]] for row in rows], file)


main()
