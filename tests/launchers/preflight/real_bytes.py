"""Count the bytes of real tensors after one step, by part, of models that the frameworks themselves build.

Runs inside the training environment: `python real_bytes.py BACKEND DTYPE CASES`, where a case is `{"config": FILE,
"bits": 4, "double": true, "method": "qlora", "dora": false}`. Prints a list with an object for each: the
bytes, the layers that got an adapter, and those whose adapter no gradient has reached.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch


def xtuner(case):
    """Build the model as XTuner's train.py does."""
    from mmengine.config import Config
    from xtuner.registry import BUILDER

    config = Config.fromfile(case["config"])
    if case["method"] == "qlora":
        config.model.llm.quantization_config.load_in_4bit = case["bits"] == 4
        config.model.llm.quantization_config.load_in_8bit = case["bits"] == 8
        config.model.llm.quantization_config.bnb_4bit_use_double_quant = case["double"]
    if case["dora"]:
        config.model.lora.use_dora = True
    return BUILDER.build(config.model).llm


def llamafactory(case):
    """Build the model as LLaMA-Factory's run_sft does."""
    import yaml
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer

    values = yaml.safe_load(Path(case["config"]).read_text()) | {"use_dora": case["dora"]}
    if case["method"] == "qlora":
        values |= {"quantization_bit": case["bits"], "double_quantization": case["double"]}
    model_args, _, _, finetuning_args, _ = get_train_args(values)
    return load_model(load_tokenizer(model_args)["tokenizer"], model_args, finetuning_args, is_trainable=True)


def size(tensors):
    """Return the bytes of the tensors, each storage once."""
    return sum({each.data_ptr(): each.numel() * each.element_size() for each in tensors}.values())


def quant_state(parameter):
    """Yield the tensors that bitsandbytes keeps beside a quantised weight."""
    state = getattr(parameter, "quant_state", None)
    for each in (state, getattr(state, "state2", None)):
        if each is not None:
            yield from (value for value in vars(each).values() if isinstance(value, torch.Tensor))
    if torch.is_tensor(scale := getattr(parameter, "SCB", None)):
        yield scale


def measured(model, method):
    """Return the bytes of each part after a step of Adam."""
    model.train()
    model.gradient_checkpointing_disable()  # the sizes are the same without
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad])
    extra = [tensor for each in model.parameters() for tensor in quant_state(each)]
    ids = torch.arange(16)[None]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    trained = [each for each in model.parameters() if each.requires_grad]
    frozen = [each for each in model.parameters() if not each.requires_grad]
    full = method == "full"
    lora = {name: each.grad for name, each in model.named_parameters() if ".lora_B" in name}
    layers = {name: re.sub(r".*?\.layers\.\d+\.|\.lora_B.*", "", name) for name in lora}
    return {
        "targets": sorted(set(layers.values())),
        "idle": sorted(layers[name] for name, gradient in lora.items() if gradient is None or not gradient.any()),
        "weights": size([*frozen, *extra, *(trained if full else [])]),
        "adapters": 0 if full else size(trained),
        "gradients": size([each.grad for each in trained]),
        "optimizer": size([v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]),
    }


def main():
    """Measure each case."""
    from mends import mend
    from run_backend import load_script

    backend, dtype, _ = sys.argv[1:]
    spec = {"device": "cpu", "deepspeed": False, "trust_remote_code": False, "bos": [], "eos": "", "packed": False}
    mend(spec)
    load_script(str(Path(os.environ["PYTHONPATH"], f"{backend}_backend.py"))).prepare({**spec, "dtype": dtype})
    build = {"xtuner": xtuner, "llamafactory": llamafactory}[backend]
    result = [measured(build(case), case["method"]) for case in json.loads(sys.argv[3])]
    sys.stdout.write("\n" + json.dumps(result) + "\n")


main()
