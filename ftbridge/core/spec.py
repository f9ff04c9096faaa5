"""What the user wants trained: one record and one table of defaults for both backends."""

import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ftbridge.core.errors import UsageError

Method = Literal["qlora", "lora", "full"]
Device = Literal["auto", "cuda", "cpu"]
Scheduler = Literal["cosine", "linear", "constant"]
Whole = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One training, as asked for; the defaults here are the same on both backends.

    `model` is a folder, `owner/name`, `hf://owner/name` or `ms://owner/name`; `gpus` is a count of processes
    on this machine, or "all"; `warmup_ratio` is the share of optimiser steps spent warming up, one step at least;
    `deepspeed` is "none", "zero2", a JSON file, or "auto": ZeRO-2 for several processes, none for one;
    `epochs` counts passes over the data; lengths are in tokens; `set` goes to the framework as it is.
    """

    backend: str
    model: str
    dataset: str
    dataset_dir: str = "data"
    method: Method = "qlora"
    lora_rank: Whole = 64
    lora_alpha: Whole = 16
    lora_dropout: Share = 0.1
    learning_rate: Positive = 2e-4
    scheduler: Scheduler = "cosine"
    warmup_ratio: Share = 0.03
    epochs: Positive = 3
    micro_batch_size: Whole = 1
    gradient_accumulation_steps: Whole = 16
    cutoff_length: Whole = 2048
    save_steps: Whole = 500
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 42
    deepspeed: str = "auto"
    gpus: int | Literal["all"] = 1
    device: Device = "auto"
    template: str | None = None
    trust_remote_code: bool = False
    set: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.gpus, int) and self.gpus < 1:
            raise UsageError(f"`--gpus` takes a count of at least 1, or `all`; got `{self.gpus}`")


def defaults() -> dict[str, Any]:
    """Return the fields of a TrainSpec that have a default, with it."""
    return {
        field.name: field.default
        for field in msgspec.structs.fields(TrainSpec)
        if field.default is not msgspec.NODEFAULT
    }
