"""XTuner's part of run_backend.py, build_only.py and encode_samples.py, which load this file.

It cannot be called xtuner.py: the scripts beside it would import that for the framework.
"""

import os
import runpy
import sys
from typing import Any

from lora_targets import targets_of_model
from mends import (
    allow_newer_transformers,
    forbid_remote_code,
    give_bos_and_eos,
    keep_to_config,
    skip_pauses,
    take_mistral3,
)


def prepare(spec: dict[str, Any]) -> None:
    """Mend XTuner for the training of `spec`, and have it adapt what lora_targets.py says where none are named."""
    allow_newer_transformers()
    take_mistral3()
    skip_pauses()
    keep_to_config()
    if not spec["trust_remote_code"]:
        forbid_remote_code()
    give_bos_and_eos(spec["bos"], spec["eos"])
    import xtuner.model.sft

    xtuner.model.sft.find_all_linear_names = targets_of_model


def train(arguments: list[str]) -> None:
    """Run `xtuner train`."""
    launcher = ["--launcher", "pytorch"] if "LOCAL_RANK" in os.environ else []
    sys.argv = ["train.py", *arguments, *launcher]
    runpy.run_module("xtuner.tools.train", run_name="__main__", alter_sys=True)


def build(arguments: list[str]) -> None:
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


class Encoder:
    """Encodes as `process_hf_dataset` does with our config, before it leaves out samples without a label."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Load the tokenizer as our config does."""
        from mmengine.config import ConfigDict
        from transformers import AutoTokenizer

        allow_newer_transformers()
        from xtuner.utils import PROMPT_TEMPLATE

        self.format, self.files = "json", [spec["file"]]
        template = spec["template"]
        self.template = PROMPT_TEMPLATE[template] if isinstance(template, str) else ConfigDict(template)
        give_bos_and_eos(spec["bos"], spec["eos"])
        self.tokenizer = AutoTokenizer.from_pretrained(
            spec["model"], trust_remote_code=spec["trust_remote_code"], padding_side="right"
        )

    def encode(self, row: dict[str, Any], cutoff: int) -> tuple[list[int], list[int]]:
        """Return a sample's ids and labels, at most `cutoff` of them."""
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn

        turns = [dict(turn) for turn in row["conversation"]]  # it writes into them
        encoded = encode_fn(template_map_fn({"conversation": turns}, self.template), self.tokenizer, cutoff)
        return encoded["input_ids"], encoded["labels"]
