"""Build what a config names with the framework's own code; runs in the training environment.

`build.py xtuner|llamafactory CONFIG ...` prints a line a config: BUILT, the number of 4-bit layers, whether there
is an adapter, and the first batch's first sample as text.
"""

import sys

import torch

torch.cpu.is_bf16_supported = lambda *_, **__: True


def build_xtuner(path: str) -> tuple[object, object, list[int]]:
    """Return tokenizer, model and the ids of the first sample of the first batch."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    from xtuner.registry import BUILDER
    from xtuner.tools.train import register_function

    config = Config.fromfile(path)
    register_function(config._cfg_dict)
    tokenizer = BUILDER.build(config.tokenizer)
    loader = Runner.build_dataloader(config.train_dataloader)
    return tokenizer, BUILDER.build(config.model), next(iter(loader))["data"]["input_ids"][0].tolist()


def build_llamafactory(path: str) -> tuple[object, object, list[int]]:
    """Return tokenizer, model and the ids of the first sample of the first batch."""
    import yaml
    from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer

    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        arguments = get_train_args(yaml.safe_load(file))
    model_args, data_args, training_args, finetuning_args, _ = arguments
    module = load_tokenizer(model_args)
    tokenizer = module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    data = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    collator = SFTDataCollatorWith4DAttentionMask(template=template, tokenizer=tokenizer)
    batch = collator([data[0], data[1]])
    return tokenizer, load_model(tokenizer, model_args, finetuning_args, True), batch["input_ids"][0].tolist()


for each in sys.argv[2:]:
    words, built, ids = (build_xtuner if sys.argv[1] == "xtuner" else build_llamafactory)(each)
    layers = sum(
        type(part).__name__ == "Linear4bit" and type(part).__module__.startswith("bitsandbytes")
        for part in built.modules()
    )
    adapter = any("lora_" in name for name, _ in built.named_parameters())
    sys.stdout.write(f"\nBUILT\t{layers}\t{adapter}\t{words.decode(ids)!r}\n")
