"""Compare what export wrote with what the frameworks' own tools make; runs in the training environment.

`export_judge.py '[["loads", BASE, ADAPTER], ["held", CHECKPOINT, EXPORTED], ...]'` calls these functions in turn.
"""

import json
import os
import runpy
import sys
import warnings
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

os.environ |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
import torch
import transformers.utils
from safetensors.torch import load_file, save_file


def exported(folder):
    return {name: tensor for file in Path(folder).glob("*.safetensors") for name, tensor in load_file(file).items()}


def compare(folder, theirs):
    """See that the folder holds just these, in its own dtype, under PEFT's names."""
    ours = exported(folder)
    named = {}
    for name, tensor in theirs.items():
        short = name.removeprefix("llm.").replace(".default.weight", ".weight")
        named[short.removesuffix(".weight") if ".lora_magnitude_vector" in short else short] = tensor
    assert ours.keys() == named.keys(), ours.keys() ^ named.keys()
    for name, tensor in named.items():
        torch.testing.assert_close(ours[name], tensor.to(ours[name].dtype), rtol=0, atol=0, msg=name)


def held(checkpoint, folder):
    """Compare with what torch loads: a file of one process, or ZeRO-2's model."""
    path = Path(checkpoint)
    file, key = (path / "mp_rank_00_model_states.pt", "module") if path.is_dir() else (path, "state_dict")
    compare(folder, torch.load(file, map_location="cpu")[key])


def gathered(checkpoint, folder):
    """Compare with DeepSpeed's own gather of ZeRO-3."""
    compare(folder, gather(checkpoint))


def gather(checkpoint):
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    return get_fp32_state_dict_from_zero_checkpoint(str(Path(checkpoint).parent), Path(checkpoint).name)


def converted(config, checkpoint, out, adapter):
    """Compare with `xtuner convert pth_to_hf --fp32`, which passes what it gathers through float16."""
    torch.cpu.is_bf16_supported = lambda *_, **__: True
    transformers.utils.is_safetensors_available = lambda: True  # XTuner imports it, and transformers 5 has it no longer
    sys.argv = ["pth_to_hf.py", config, checkpoint, out, "--fp32"]
    runpy.run_module("xtuner.tools.model_converters.pth_to_hf", run_name="__main__")
    theirs = torch.load(f"{out}/adapter_model.bin") if Path(out, "adapter_model.bin").exists() else exported(out)
    ours = exported(adapter)
    assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name].half(), tensor.half()), name


def loads(base, adapter):
    """Load the adapter with PEFT onto the base that it names: every tensor is there as it was written."""
    from peft import AutoPeftModelForCausalLM, get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns of keys that are missing
        model = AutoPeftModelForCausalLM.from_pretrained(adapter)
    assert model.peft_config["default"].base_model_name_or_path == base
    ours, loaded = exported(adapter), get_peft_model_state_dict(model)
    assert ours.keys() == loaded.keys(), ours.keys() ^ loaded.keys()
    for name, tensor in ours.items():
        assert torch.equal(loaded[name].to(tensor.dtype), tensor), name
    assert any(tensor.any() for name, tensor in ours.items() if "lora_B" in name)


def loads_model(base, folder):
    """Load the model with transformers: nothing is missing, and the dtype is the base's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not any(info.values()), info
    assert model.dtype == plain.dtype
    assert model.config.use_cache == plain.config.use_cache
    assert AutoTokenizer.from_pretrained(folder).chat_template


def make_shards(folder):
    """Write ZeRO-3 checkpoints of several numbers of processes, and what DeepSpeed gathers of each."""
    shapes = {"llm.a.weight": (5, 7), "llm.b.bias": (1,), "llm.c.weight": (3, 2, 2), "llm.d": ()}
    torch.manual_seed(0)
    for world, groups in ((1, 1), (2, 3), (3, 1), (5, 2), (8, 4)):
        flat = [[] for _ in range(world)]
        for shape in shapes.values():
            values = torch.randn(shape).flatten()
            share = -(-len(values) // world)
            padded = torch.cat([values, torch.full((share * world - len(values),), float("nan"))])
            for rank, piece in enumerate(padded.split(share)):
                flat[rank].append(piece)
        place = Path(folder, f"{world}-processes")
        place.mkdir(parents=True)
        for rank in range(world):
            # A group is of whole tensors; DeepSpeed's gather could not put together others.
            cuts = [len(shapes) * number // groups for number in range(groups + 1)]
            whole = [torch.cat(flat[rank][one:other]) for one, other in pairwise(cuts)]
            states = {
                "zero_stage": 3,
                "partition_count": world,
                "fp32_flat_groups": [torch.nn.Parameter(each) for each in whole],
            }
            torch.save({"optimizer_state_dict": states}, place / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
            frozen = torch.arange(5 * rank, 5 * rank + 5).to(torch.bfloat16)
            content = {
                "module": OrderedDict({"llm.rope": torch.arange(3.0), **{name: torch.empty(0) for name in shapes}}),
                "buffer_names": ["llm.rope"],
                "param_shapes": [OrderedDict((name, torch.Size(shape)) for name, shape in shapes.items())],
                "frozen_param_shapes": OrderedDict({"llm.wte": torch.Size((5 * world - 1,))}),
                "frozen_param_fragments": OrderedDict({"llm.wte": frozen}),
                "shared_params": {"llm.head": "llm.a.weight"},
                "ds_version": "0.19.4",
                "dp_world_size": world,
                "global_steps": 3,
            }
            torch.save(content, place / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
        found = {name: each.contiguous() for name, each in gather(str(place)).items() if name != "llm.head"}
        save_file(found, place / "expected.safetensors")


for name, *arguments in json.loads(sys.argv[1]):
    globals()[name](*arguments)
