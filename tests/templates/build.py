"""Build what a config names with the framework's own code; runs in the training environment.

`build.py xtuner|llamafactory CONFIG ...` prints a line a config: BUILT, the number of 4-bit layers, whether there
is an adapter, the first batch's first sample as text, and what became of the options, as JSON.
"""

import json
import sys

import torch

torch.cpu.is_bf16_supported = lambda *_, **__: True


def build_xtuner(path: str) -> tuple[object, object, list[int], str]:
    """Return tokenizer, model, the ids of the first sample of the first batch, and the optimiser's class."""
    from mends import allow_newer_transformers, give_bos_and_eos
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper
    from mmengine.runner import Runner

    allow_newer_transformers()
    give_bos_and_eos([], "")
    from xtuner.registry import BUILDER
    from xtuner.tools.train import register_function

    config = Config.fromfile(path)
    register_function(config._cfg_dict)
    tokenizer = BUILDER.build(config.tokenizer)
    loader = Runner.build_dataloader(config.train_dataloader)
    model = BUILDER.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    return tokenizer, model, next(iter(loader))["data"]["input_ids"][0].tolist(), type(optimizer).__name__


def build_llamafactory(path: str) -> tuple[object, object, list[int], str]:
    """Return tokenizer, model, the ids of the first sample of the first batch, and the optimiser's class."""
    import yaml
    from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer
    from transformers import Trainer

    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        arguments = get_train_args(yaml.safe_load(file))
    model_args, data_args, training_args, finetuning_args, _ = arguments
    module = load_tokenizer(model_args)
    tokenizer = module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    data = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    collator = SFTDataCollatorWith4DAttentionMask(template=template, tokenizer=tokenizer)
    batch = collator([data[0], data[1]])
    model = load_model(tokenizer, model_args, finetuning_args, True)
    optimizer, _ = Trainer.get_optimizer_cls_and_kwargs(training_args)
    return tokenizer, model, batch["input_ids"][0].tolist(), optimizer.__name__


def options(model: torch.nn.Module) -> dict[str, object]:
    """Return what the options made of the model; the adapter's where there is one."""
    whole = getattr(model, "llm", model)
    adapters = getattr(whole, "peft_config", {})
    names = [name.partition(".lora_A")[0] for name, _ in whole.named_parameters() if ".lora_A" in name]
    return {
        "int8": sum(type(part).__name__ == "Linear8bitLt" and not hasattr(part, "lora_A") for part in whole.modules()),
        "types": sorted(
            {
                part.weight.quant_type
                for part in whole.modules()
                if type(part).__name__ == "Linear4bit" and not hasattr(part, "lora_A")
            }
        ),
        "targets": sorted({name.rpartition(".")[2] for name in names}),
        "rslora": bool(adapters) and adapters["default"].use_rslora,
        "dora": bool(adapters) and adapters["default"].use_dora,
        "attention": whole.config._attn_implementation,
        "checkpointing": any(getattr(part, "gradient_checkpointing", False) for part in whole.modules()),
    }


for each in sys.argv[2:]:
    words, built, ids, optimizer_name = (build_xtuner if sys.argv[1] == "xtuner" else build_llamafactory)(each)
    layers = sum(
        type(part).__name__ == "Linear4bit" and type(part).__module__.startswith("bitsandbytes")
        for part in built.modules()
    )
    adapter = any("lora_" in name for name, _ in built.named_parameters())
    facts = json.dumps({"optimizer": optimizer_name, **options(built)})
    sys.stdout.write(f"\nBUILT\t{layers}\t{adapter}\t{words.decode(ids)!r}\t{facts}\n")
