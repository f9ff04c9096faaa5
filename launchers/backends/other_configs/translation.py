"""What became of a config of another program: options of ours, and what has no counterpart."""

import re
from pathlib import Path
from typing import Any

import msgspec

# Names of optimisers, of transformers and of the classes that XTuner's configs name.
OPTIMIZERS = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "AdamW": "adamw",
    "adamw_8bit": "adamw_8bit",
    "adamw_bnb_8bit": "adamw_8bit",
    "AdamW8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
    "PagedAdamW": "paged_adamw_32bit",
    "PagedAdamW32bit": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "PagedAdamW8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "Adafactor": "adafactor",
    "sgd": "sgd",
    "SGD": "sgd",
}


class Translation(msgspec.Struct):
    """The `options` of TrainSpec that a config of the program `title` means, and what is `left_out`, each with why.

    `data` are files or names of hubs that it trains on, where they are no names of registered datasets.
    """

    title: str
    options: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    data: tuple[str, ...] = ()

    def leave_out(self, key: str, value: Any, why: str) -> None:
        """Note that `key: value` has no counterpart here."""
        shown = str(value)
        self.left_out[f"{key}: {shown[:40]}{'...' if len(shown) > 40 else ''}"] = why  # noqa: PLR2004 - letters


def deepspeed_name(path: str) -> str:
    """Return what `--deepspeed` calls a config of DeepSpeed: the file where it is there, else the name it is known by.

    LLaMA-Factory's are called `ds_z3_offload_config.json`, XTuner's `deepspeed_zero3_offload`.
    """
    if Path(path).is_file():
        return path
    known = re.fullmatch(r"(?:ds_z|deepspeed_zero)([0-3])(_offload)?(?:_config)?", Path(path).stem)
    if not known:
        return path
    return "none" if known[1] == "0" else f"zero{known[1]}{'-offload' if known[2] else ''}"
