"""Runs in the training environment: encode conversations by a framework's own code, and our pieces.

Reads a JSON spec from stdin, writes JSON to the file named in it; imports nothing of ftbridge.
"""

import json
import sys
from types import SimpleNamespace

IGNORED = -100


def tokenizer_of(case):
    """Return a fresh tokenizer."""
    from transformers import PreTrainedTokenizerFast

    special = {"bos_token": case["bos"], "eos_token": case["eos"], "pad_token": case["eos"]}
    return PreTrainedTokenizerFast(tokenizer_file=case["tokenizer"], **special)


def ours(tokenizer, segments):
    """Return the ids of our pieces, encoded as Prompt.segments says."""
    ids = []
    for segment in segments:
        if isinstance(segment, str):
            ids += tokenizer.encode(segment, add_special_tokens=False)
        else:
            ids.append(tokenizer.convert_tokens_to_ids(segment["token"]))
    return ids


def xtuner(case, conversation):
    """Return the ids and labels of a sample."""
    from mends import allow_newer_transformers, give_bos_and_eos
    from mmengine.config import ConfigDict

    allow_newer_transformers()
    from xtuner.dataset import utils
    from xtuner.dataset.map_fns.template_map_fn import template_map_fn

    tokenizer = tokenizer_of(case)
    template = case["template"]
    give_bos_and_eos(case["prompt_bos"], case["prompt_eos"])
    if isinstance(template, str):
        from xtuner.utils import PROMPT_TEMPLATE

        template = PROMPT_TEMPLATE[template]
    turns = [{"system": "", "input": q, "output": a} for q, a in conversation["turns"]]
    turns[0]["system"] = conversation["system"]
    mapped = template_map_fn({"conversation": turns}, template=ConfigDict(template))
    encoded = utils.encode_fn(mapped, tokenizer, 10_000)
    return tokenizer, encoded["input_ids"], encoded["labels"]


def llamafactory(case, conversation):
    """Return the ids and labels of a sample, and the prompt of its last turn as inference has it."""
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    tokenizer = tokenizer_of(case)
    arguments = DataArguments(
        template=case["template"],
        default_system="",
        enable_thinking=case["enable_thinking"],
        cutoff_len=10_000,
    )
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    messages = []
    for question, answer in conversation["turns"]:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    processor = SupervisedDatasetProcessor(template, tokenizer, None, arguments)
    ids, labels = processor._encode_data_example(messages[:-1], messages[-1:], conversation["system"], "", [], [], [])
    pairs = template.encode_multiturn(tokenizer, messages, conversation["system"])
    asked = [each for source, target in pairs[:-1] for each in source + target] + pairs[-1][0]
    inference, _ = template.encode_oneturn(tokenizer, messages, conversation["system"])
    return tokenizer, ids, labels, asked, inference


def last_prompt(ids, labels):
    """Return the ids before the last trained stretch."""
    end = max(at for at, label in enumerate(labels) if label != IGNORED)
    start = end
    while start and labels[start - 1] != IGNORED:
        start -= 1
    return ids[:start]


def main():
    """Encode every case of the spec with its backend."""
    spec = SimpleNamespace(**json.load(sys.stdin))
    result = {}
    for case in spec.cases:
        for conversation in case["conversations"]:
            if spec.backend == "xtuner":
                tokenizer, ids, labels = xtuner(case, conversation)
                asked = inference = last_prompt(ids, labels)
            else:
                tokenizer, ids, labels, asked, inference = llamafactory(case, conversation)
            result[f"{case['family']} {conversation['name']}"] = {
                "ids": ids,
                "labels": labels,
                "prompt": asked,
                "inference": inference,
                "our_prompt": ours(tokenizer, conversation["prompt"]),
                "our_sample": ours(tokenizer, conversation["sample"]),
            }
    if spec.backend == "xtuner":
        from xtuner.utils import PROMPT_TEMPLATE

        extra = {name: PROMPT_TEMPLATE[name].to_dict() for name in PROMPT_TEMPLATE}
    else:
        from llamafactory.data.template import TEMPLATES

        extra = dict.fromkeys(TEMPLATES)
    with open(spec.out, "w", encoding="utf-8") as file:  # noqa: PTH123 - stdout is the framework's
        json.dump({"encoded": result, "templates": extra}, file)


main()
