"""Loads a dataset as both frameworks do, and prints what they make of it; runs in the training environment.

Usage: frameworks_load.py DATASET_DIR NAME OUTPUT
"""

import json
import sys
from pathlib import Path

from datasets import load_dataset
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments, ModelArguments
from mends import allow_newer_transformers
from transformers import Seq2SeqTrainingArguments

allow_newer_transformers()
from xtuner.dataset.huggingface import add_template_to_dataset, build_origin_dataset  # noqa: E402
from xtuner.dataset.map_fns import template_map_fn_factory  # noqa: E402
from xtuner.utils import PROMPT_TEMPLATE  # noqa: E402

folder, name, output = sys.argv[1:]
scratch = str(Path(output).parent / "scratch")
(attributes,) = get_dataset_list([name], folder)
factory = _load_single_dataset(
    attributes,
    ModelArguments(model_name_or_path="none", cache_dir=scratch),
    DataArguments(dataset_dir=folder),
    Seq2SeqTrainingArguments(output_dir=scratch, use_cpu=True),
)
entry = json.loads((Path(folder) / "dataset_info.json").read_text())[name]["ftbridge"]
# The steps of xtuner's process_hf_dataset up to tokens, which would need a model.
tuner = build_origin_dataset(
    {
        "type": load_dataset,
        "path": "json",
        "data_files": {"train": str(Path(folder) / entry["files"]["xtuner"])},
        "cache_dir": scratch,
    },
    "train",
)
template = {"type": template_map_fn_factory, "template": PROMPT_TEMPLATE.qwen_chat}
templated = add_template_to_dataset(tuner, template, map_num_proc=1)
result = {"llamafactory": factory.to_list(), "xtuner": tuner.to_list(), "templated": templated.to_list()}
Path(output).write_text(json.dumps(result))
