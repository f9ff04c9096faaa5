"""LLaMA-Factory's part of run_backend.py, build_only.py and encode_samples.py, which load this file."""

import sys
from pathlib import Path
from typing import Any

from lora_targets import targets_of_model
from mends import (
    allow_llama4_without_images,
    find_layers_behind_partials,
    leave_gpt_oss_its_attention,
    load_in_float32,
)


def prepare(spec: dict[str, Any]) -> None:
    """Mend LLaMA-Factory for the training of `spec`; where none are named, it adapts what lora_targets.py says."""
    find_layers_behind_partials()
    leave_gpt_oss_its_attention()
    allow_llama4_without_images()
    if spec["dtype"] == "float32":
        load_in_float32()
    if spec["packed"]:
        import llamafactory.train.sft.workflow
        from packed_collator import collate_packed

        llamafactory.train.sft.workflow.SFTDataCollatorWith4DAttentionMask = lambda **_: collate_packed
    import llamafactory.model.adapter

    llamafactory.model.adapter.find_all_linear_modules = lambda model, _freeze_vision_tower: targets_of_model(model)


def train(arguments: list[str]) -> None:
    """Run `llamafactory-cli train`."""
    sys.argv = ["llamafactory-cli", *arguments]
    import llamafactory.train.sft.workflow
    from llamafactory.train.tuner import run_exp
    from trainer_steps import stoppable

    workflow = llamafactory.train.sft.workflow
    workflow.CustomSeq2SeqTrainer = stoppable(workflow.CustomSeq2SeqTrainer)
    run_exp()


def build(arguments: list[str]) -> None:
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


class Encoder:
    """Encodes as `get_dataset` does with our config."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Load tokenizer and template as `run_sft` does."""
        from llamafactory.data.converter import get_dataset_converter
        from llamafactory.data.parser import get_dataset_list
        from llamafactory.data.processor import SupervisedDatasetProcessor
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.extras.constants import FILEEXT2TYPE
        from llamafactory.hparams import DataArguments, ModelArguments
        from llamafactory.model import load_tokenizer

        thinking = {} if spec["enable_thinking"] is None else {"enable_thinking": spec["enable_thinking"]}
        self.arguments = DataArguments(template=spec["template"], default_system="", **thinking)
        (entry,) = get_dataset_list([spec["dataset"]], spec["dataset_dir"])
        path = Path(spec["dataset_dir"], entry.dataset_name)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        self.format, self.files = FILEEXT2TYPE[files[0].suffix[1:]], list(map(str, files))
        self.convert = get_dataset_converter(entry.formatting, entry, self.arguments)
        loaded = load_tokenizer(
            ModelArguments(model_name_or_path=spec["model"], trust_remote_code=spec["trust_remote_code"])
        )
        self.tokenizer = loaded["tokenizer"]
        template = get_template_and_fix_tokenizer(self.tokenizer, self.arguments)
        self.processor = SupervisedDatasetProcessor(template, self.tokenizer, loaded["processor"], self.arguments)

    def encode(self, row: dict[str, Any], cutoff: int) -> tuple[list[int], list[int]]:
        """Return a sample's ids and labels, at most `cutoff` of them; none for a sample that is left out."""
        self.arguments.cutoff_len = cutoff
        converted = self.convert(row)
        encoded = self.processor.preprocess_dataset({key: [value] for key, value in converted.items()})
        return (encoded["input_ids"][0], encoded["labels"][0]) if encoded["input_ids"] else ([], [])
