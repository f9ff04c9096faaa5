"""Tells how many samples each framework makes of datasets, or what it says; runs in the training environment.

Usage: frameworks_check.py JOB, a JSON file with `folder`, `model`, `names` (for LLaMA-Factory), `files` (XTuner's,
by name), and `output`, where the answers go.
"""

import json
import sys
from pathlib import Path

from datasets import load_dataset
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments, ModelArguments
from mends import allow_newer_transformers, give_bos_and_eos
from transformers import AutoTokenizer, Seq2SeqTrainingArguments

allow_newer_transformers()
give_bos_and_eos([], "")
from xtuner.dataset.huggingface import process_hf_dataset  # noqa: E402
from xtuner.dataset.map_fns import template_map_fn_factory  # noqa: E402
from xtuner.utils import PROMPT_TEMPLATE  # noqa: E402

job = json.loads(Path(sys.argv[1]).read_text())
scratch = str(Path(job["output"]).parent / "scratch")
training = Seq2SeqTrainingArguments(output_dir=scratch, use_cpu=True)


def llamafactory(name):
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    data = DataArguments(dataset=name, dataset_dir=job["folder"], template="qwen", overwrite_cache=True)
    model = ModelArguments(model_name_or_path=job["model"], cache_dir=scratch)
    template = get_template_and_fix_tokenizer(tokenizer, data)
    loaded = get_dataset(template, model, data, training, stage="sft", tokenizer=tokenizer)
    return len(loaded["train_dataset"])


def aligned(name):
    """Return the samples as LLaMA-Factory understands them, before its template."""
    (attributes,) = get_dataset_list([name], job["folder"])
    model = ModelArguments(model_name_or_path="none", cache_dir=scratch)
    return _load_single_dataset(attributes, model, DataArguments(dataset_dir=job["folder"]), training).to_list()


def xtuner(file):
    dataset = {"type": load_dataset, "path": "json", "data_files": {"train": file}, "cache_dir": scratch}
    template = {"type": template_map_fn_factory, "template": PROMPT_TEMPLATE.qwen_chat}
    return len(
        process_hf_dataset(
            dataset,
            tokenizer=AutoTokenizer.from_pretrained(job["model"]),
            max_length=2048,
            template_map_fn=template,
            remove_unused_columns=True,
            pack_to_max_length=False,
            map_num_proc=1,
        )
    )


def answers(load, questions):
    found = {}
    for name, question in questions.items():
        try:
            found[name] = load(question)
        except Exception as error:  # noqa: BLE001 - whatever a framework raises is its answer
            found[name] = f"{type(error).__name__}: {error}"[:300]
    return found


names = {name: name for name in job["names"]}
found = {
    "llamafactory": answers(llamafactory, names),
    "xtuner": answers(xtuner, job["files"]),
    "aligned": answers(aligned, {"our-sharegpt": "our-sharegpt"}),
}
Path(job["output"]).write_text(json.dumps(found))
