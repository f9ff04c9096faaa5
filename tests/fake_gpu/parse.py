"""Start a training as the helper does, up to where the framework would load the model; runs in its environment.

`parse.py SPEC.json` (the launch.json of a run), alone or under torchrun, prints a line of JSON: how many cards torch
sees, how many processes there are, what the framework decided, and what DeepSpeed, if it is used, finds free.
"""

import json
import os
import sys

from run_backend import read_spec


def xtuner(arguments: list[str]) -> dict[str, object]:
    """Return what XTuner's own entry makes of the config before it builds the model."""
    import torch
    from mmengine.config import Config
    from mmengine.dist import get_world_size, init_dist
    from xtuner.tools.train import parse_args, register_function

    launcher = ["--launcher", "pytorch"] if "LOCAL_RANK" in os.environ else []
    sys.argv = ["train.py", *arguments, *launcher]
    given = parse_args()
    config = Config.fromfile(given.config)
    register_function(config._cfg_dict)
    if launcher:
        init_dist("pytorch", **config.env_cfg.dist_cfg)
    wrapper = config.optim_wrapper
    dtype = str(wrapper.get("dtype"))
    return {"cards": torch.cuda.device_count(), "processes": get_world_size(), "dtype": dtype}


def llamafactory(arguments: list[str]) -> dict[str, object]:
    """Return what LLaMA-Factory makes of its arguments; transformers chooses the device here."""
    sys.argv = ["llamafactory-cli", *arguments]
    import torch
    from llamafactory.hparams import get_train_args

    model_args, _, training_args, _, _ = get_train_args()
    dtype = str(model_args.compute_dtype).removeprefix("torch.")
    return {"cards": torch.cuda.device_count(), "processes": training_args.world_size, "dtype": dtype}


if __name__ == "__main__":
    spec, backend = read_spec()
    parse = xtuner if "xtuner" in backend.__file__.rpartition("/")[2] else llamafactory
    found = parse(spec["arguments"])
    if spec["deepspeed"]:
        from deepspeed.accelerator import get_accelerator

        found["free"] = get_accelerator().available_memory()
    sys.stdout.write(f"\nPARSED {json.dumps(found)}\n")
    sys.stdout.flush()
    os._exit(0)  # a process group without a GPU does not end well
