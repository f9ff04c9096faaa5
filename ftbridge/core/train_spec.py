"""What the user wants trained: one record and one table of defaults for both backends.

The names are one for both frameworks; what each makes of them stands in its template. The command line's options and
docs/options.md come from this table, too.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from ftbridge.core.errors import UsageError
from ftbridge.language import gettext as _

Method = Literal["qlora", "lora", "full"]
Device = Literal["auto", "cuda", "cpu"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "adafactor", "sgd"]
Tracker = Literal["tensorboard", "swanlab", "wandb"]
Whole = Annotated[int, Meta(ge=1, lt=1 << 31)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
NotNegative = Annotated[float, Meta(ge=0, le=sys.float_info.max)]


_TAKEN = re.compile(r"(?P<name>[^#]*)#\s*(?P<number>[-+.0-9][-+.0-9eE%]*)")
_COUNT, _SHARE = re.compile(r"[0-9]+"), re.compile(r"[0-9]*\.[0-9]+")
# Options for tokens that are made once, with their defaults.
OF_TOKENS = {"chat_template": None, "learn": "all", "thinking": "auto", "too_long": "cut"}


class DatasetChoice(msgspec.Struct, frozen=True):
    """A dataset and what is taken of it: a number of samples (int), a share below 1 (float), or all (None)."""

    name: str
    take: int | float | None = None

    @property
    def text(self) -> str:
        """Return the choice as it is written."""
        if self.take is None:
            return self.name
        return f"{self.name}#{f'{self.take:.9f}'.rstrip('0') if isinstance(self.take, float) else self.take}"

    def samples_of(self, total: int) -> int:
        """Return how many of `total` samples are taken; raises UsageError where there are fewer."""
        if self.take is None:
            return total
        if isinstance(self.take, float):
            return max(1, round(self.take * total))
        if self.take > total:
            message = _("`{choice}` asks for {wanted:,} samples, and `{name}` has {total:,}; take `{name}`")
            raise UsageError(message.format(choice=self.text, wanted=self.take, name=self.name, total=total))
        return self.take


def dataset_choices(given: str | Iterable[str]) -> tuple[DatasetChoice, ...]:
    """Return the datasets in texts, each of which may name several by comma.

    Raises UsageError for a number behind `#` that is neither a count nor a share, and for a dataset named twice.
    """
    texts = [given] if isinstance(given, str) else given
    choices = tuple(_choice(each.strip()) for text in texts for each in text.split(",") if each.strip())
    refuse_twice([each.name for each in choices])
    return choices


def refuse_twice(names: list[str]) -> None:
    """Raise UsageError where a dataset is named twice."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(_("the dataset `{name}` is named twice; leave one out").format(name=twice))


def _choice(text: str) -> DatasetChoice:
    found = _TAKEN.fullmatch(text)
    if not found:
        return DatasetChoice(text)
    name, number = found["name"].strip(), found["number"]
    if name and _COUNT.fullmatch(number) and int(number):
        return DatasetChoice(name, int(number))
    if name and _SHARE.fullmatch(number) and 0 < float(number) < 1:
        return DatasetChoice(name, float(number))
    message = _(
        "`{text}`: after `#` comes a number of samples from 1 on, as in `{name}#500`, or a share below 1, as in "
        "`{name}#0.1`"
    )
    raise UsageError(message.format(text=text, name=name or "medqa"))


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One training, as asked for; the defaults here are the same on both backends.

    Lengths are in tokens, steps are the optimizer's; `set` goes to the framework as it is. Raises UsageError for
    values that contradict each other.
    """

    backend: Annotated[str, Meta(description="Framework that trains; `ftbridge plugins` lists them.")]
    model: Annotated[
        str,
        Meta(description="Model folder, or a hub's name: owner/name (Hugging Face), ms://owner/name (ModelScope)."),
    ]
    dataset: Annotated[
        str | tuple[str, ...],
        Meta(
            description="Registered dataset to train on; several: repeat it, or NAME,NAME. NAME#500 takes 500 samples, "
            "NAME#0.1 a share."
        ),
    ]
    dataset_dir: Annotated[str, Meta(description="Folder with dataset_info.json.")] = "data"
    validation_dataset: Annotated[
        str,
        Meta(
            description="Dataset to validate on; auto: the validation part, where there is one; none: do not validate."
        ),
    ] = "auto"
    validation_steps: Annotated[Whole | None, Meta(description="Optimizer steps between validations.")] = None
    early_stopping: Annotated[
        Whole | None, Meta(description="Stop after N validations without a lower validation loss.")
    ] = None
    method: Annotated[
        Method, Meta(description="qlora: LoRA on a quantised model; lora: LoRA; full: train all weights.")
    ] = "qlora"
    quantization_bits: Annotated[Literal[4, 8], Meta(description="Bits per weight of the quantised model (qlora).")] = 4
    quantization_type: Annotated[
        Literal["nf4", "fp4"], Meta(description="4-bit data type of bitsandbytes (qlora in 4 bits).")
    ] = "nf4"
    double_quantization: Annotated[
        bool, Meta(description="Quantise the quantisation constants, too (qlora in 4 bits).")
    ] = True
    lora_rank: Annotated[Whole, Meta(description="Rank of the LoRA matrices.")] = 64
    lora_alpha: Annotated[Whole, Meta(description="LoRA alpha: the adapter is scaled by alpha / rank.")] = 16
    lora_dropout: Annotated[Share, Meta(description="Dropout on the input of LoRA layers.")] = 0.1
    lora_targets: Annotated[
        tuple[str, ...],
        Meta(description="Names of the layers that get LoRA matrices, separated by commas."),
    ] = ()
    rslora: Annotated[bool, Meta(description="Rank-stabilised LoRA: scale by alpha / sqrt(rank).")] = False
    dora: Annotated[bool, Meta(description="DoRA: weight-decomposed LoRA.")] = False
    optimizer: Annotated[Optimizer, Meta(description="Optimizer; the 8-bit and paged ones need a GPU.")] = "adamw"
    learning_rate: Annotated[Positive, Meta(description="Highest learning rate, reached after the warm-up.")] = 2e-4
    weight_decay: Annotated[NotNegative, Meta(description="Weight decay of the optimizer.")] = 0.0
    max_gradient_norm: Annotated[Positive, Meta(description="Norm to which gradients are clipped.")] = 1.0
    scheduler: Annotated[
        Literal["cosine", "linear", "constant"], Meta(description="Learning rate schedule after the warm-up.")
    ] = "cosine"
    warmup_ratio: Annotated[
        Share, Meta(description="Share of the optimizer steps that is warm-up; at least one step.")
    ] = 0.03
    epochs: Annotated[Positive, Meta(description="Passes over the training data; may be a fraction.")] = 3
    max_steps: Annotated[Whole | None, Meta(description="Total optimizer steps, instead of epochs.")] = None
    micro_batch_size: Annotated[Whole, Meta(description="Samples per process in one forward and backward pass.")] = 1
    gradient_accumulation_steps: Annotated[
        Whole, Meta(description="Forward and backward passes per optimizer step.")
    ] = 16
    cutoff_length: Annotated[
        Whole, Meta(description="Longest sample in tokens; --too-long says what becomes of others.")
    ] = 2048
    too_long: Annotated[
        Literal["cut", "drop", "refuse"],
        Meta(
            description="Samples beyond the cutoff length: cut removes the oldest turns, then the end of the "
            "question, never an answer; drop skips them; refuse is an error."
        ),
    ] = "cut"
    tokens: Annotated[
        Literal["once", "native"],
        Meta(
            description="How tokens are made; once: by the model's own chat template, the same for every framework; "
            "native: by the framework and its templates."
        ),
    ] = "once"
    chat_template: Annotated[
        str | None, Meta(description="Chat template: a Jinja file, or alpaca, chatml, plain, vicuna.")
    ] = None
    learn: Annotated[Literal["all", "last"], Meta(description="Answers of a conversation that are learned.")] = "all"
    thinking: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description=(
                "Thoughts before an answer; auto: on if the data has them; off: the prompt holds an empty thought."
            )
        ),
    ] = "auto"
    packing: Annotated[bool, Meta(description="Pack several samples into one sequence of the cutoff length.")] = False
    gradient_checkpointing: Annotated[
        bool, Meta(description="Recompute activations in the backward pass, to save memory.")
    ] = True
    attention: Annotated[
        Literal["auto", "eager", "sdpa", "flash_attention_2"],
        Meta(description="Attention implementation; auto: the framework's choice."),
    ] = "auto"
    dtype: Annotated[
        Dtype,
        Meta(
            description="Dtype of training; auto: bfloat16 on GPUs that have it, float16 on others, float32 on the CPU."
        ),
    ] = "auto"
    neftune_alpha: Annotated[
        Positive | None, Meta(description="Alpha of NEFTune: noise on the embeddings (LLaMA-Factory).")
    ] = None
    save_steps: Annotated[
        Whole | Literal["auto"],
        Meta(
            description=(
                "Optimizer steps between checkpoints; auto: an epoch or a fifth of the run, whichever is "
                "shorter, and at most 20 checkpoints a run."
            )
        ),
    ] = "auto"
    save_limit: Annotated[Whole, Meta(description="Number of checkpoints to keep; the end is always saved.")] = 2
    seed: Annotated[
        int, Meta(ge=0, lt=2**32, description="Random seed of the initial adapter, dropout and order of samples.")
    ] = 42
    track: Annotated[
        tuple[Tracker, ...],
        Meta(
            description="Experiment trackers, separated by commas: tensorboard, swanlab, wandb; offline without a key."
        ),
    ] = ()
    deepspeed: Annotated[
        str,
        Meta(
            description="DeepSpeed config: none, zero1, zero2, zero2-offload, zero3, zero3-offload, or a .json file; "
            "auto: zero2 for several processes, none for one."
        ),
    ] = "auto"
    gpus: Annotated[
        int | Literal["all"], Meta(description="Number of GPUs, of those in CUDA_VISIBLE_DEVICES where it is set.")
    ] = 1
    device: Annotated[Device, Meta(description="Where to train; auto: on GPUs where there are any.")] = "auto"
    template: Annotated[str | None, Meta(description="Model family (--tokens native): whose prompt is trained.")] = None
    trust_remote_code: Annotated[bool, Meta(description="Run Python code that comes with the model.")] = False
    set: Annotated[dict[str, str], Meta(description="Any other setting of the framework; repeatable.")] = msgspec.field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        # One name, as an older run.json has it, is a list of one.
        msgspec.structs.force_setattr(self, "dataset", tuple(each.text for each in dataset_choices(self.dataset)))
        if isinstance(self.gpus, int) and self.gpus < 1:
            raise UsageError(_("`--gpus` takes a count of at least 1, or `all`; got `{gpus}`").format(gpus=self.gpus))
        adapter = {"rslora": self.rslora, "dora": self.dora, "lora_targets": self.lora_targets}
        for name, value in adapter.items():
            if value and self.method == "full":
                raise UsageError(
                    _("`{name}` is for an adapter, and `--method full` trains all weights; leave one out").format(
                        name=name
                    )
                )
        others, wanted = ({"template": None}, "native") if self.tokens == "once" else (OF_TOKENS, "once")
        for name, default in others.items():
            if getattr(self, name) != default:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    _("`{option}` is for `--tokens {wanted}`; take that, or leave `{option}` out").format(
                        option=option, wanted=wanted
                    )
                )
        if self.early_stopping and self.validation_dataset == "none":
            raise UsageError(_("`--early-stopping` watches the validation loss; leave `--validation-dataset none` out"))

    @property
    def datasets(self) -> tuple[DatasetChoice, ...]:
        """Return the datasets that are trained on, with what is taken of each."""
        return dataset_choices(self.dataset)

    @property
    def dataset_text(self) -> str:
        """Return the datasets in words, as they are written: `medqa-train, news-train#500`."""
        return ", ".join(each.text for each in self.datasets)


class TrainOptions(TypedDict, total=False):
    """The fields of a TrainSpec as options of a function: what is left out, the settings or the defaults decide."""

    backend: str
    model: str | os.PathLike[str]
    dataset: str | Sequence[str]
    dataset_dir: str | os.PathLike[str]
    validation_dataset: str
    validation_steps: int | None
    early_stopping: int | None
    method: Method
    quantization_bits: Literal[4, 8]
    quantization_type: Literal["nf4", "fp4"]
    double_quantization: bool
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    lora_targets: Sequence[str]
    rslora: bool
    dora: bool
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    max_gradient_norm: float
    scheduler: Literal["cosine", "linear", "constant"]
    warmup_ratio: float
    epochs: float
    max_steps: int | None
    micro_batch_size: int
    gradient_accumulation_steps: int
    cutoff_length: int
    too_long: Literal["cut", "drop", "refuse"]
    tokens: Literal["once", "native"]
    chat_template: str | os.PathLike[str] | None
    learn: Literal["all", "last"]
    thinking: Literal["auto", "on", "off"]
    packing: bool
    gradient_checkpointing: bool
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"]
    dtype: Dtype
    neftune_alpha: float | None
    save_steps: int | Literal["auto"]
    save_limit: int
    seed: int
    track: Sequence[Tracker]
    deepspeed: str | os.PathLike[str]
    gpus: int | Literal["all"]
    device: Device
    template: str | None
    trust_remote_code: bool
    set: Mapping[str, str | float]


def option_names(fields: Iterable[str]) -> dict[str, str]:
    """Return what fields are called in messages: "`--lora-rank`"."""
    return {name: f"`--{name.replace('_', '-')}`" for name in fields}


def defaults() -> dict[str, Any]:
    """Return the fields of a TrainSpec that have a default, with it."""
    return {
        field.name: field.default
        for field in msgspec.structs.fields(TrainSpec)
        if field.default is not msgspec.NODEFAULT
    }


def as_typed(value: Any) -> str:
    """Return the value of an option as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, (), []) else ",".join(value) if isinstance(value, list | tuple) else str(value)
