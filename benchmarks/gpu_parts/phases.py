"""The phases, in their order: each yields a row as soon as it is measured."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from gpu_parts import answering, ending, merging
from gpu_parts.bench import BACKENDS, Bench, Row, at_once, attempt
from gpu_parts.machine_checks import doctor
from gpu_parts.models import models
from gpu_parts.resuming import resumed
from gpu_parts.trainings import alone, several


class Phase(NamedTuple):
    """What a phase measures, the seconds that it may take at most, and its table's columns by the rows' keys."""

    title: str
    seconds: int
    run: Callable[[Bench], Iterator[Row]]
    columns: dict[str, str]


def qlora(bench: Bench) -> Iterator[Row]:
    """Train an adapter on the large model in 4 bits, alone on the card."""
    steps = {} if bench.rehearse else {"cutoff_length": 2048, "max_steps": 25}
    for backend in BACKENDS:
        options: dict[str, Any] = {"backend": backend, "model": "large", **steps}
        yield attempt({"framework": backend}, partial(alone, bench, **options))


# Of the small model, by what the table calls them.
VARIANTS: dict[str, dict[str, Any]] = {
    "qlora, 4 bits": {},
    "lora": {"method": "lora"},
    "full": {"method": "full", "learning_rate": 1e-5},
    "lora, ZeRO-1": {"method": "lora", "deepspeed": "zero1"},
    "qlora, ZeRO-2": {"deepspeed": "zero2"},
    "lora, ZeRO-3": {"method": "lora", "deepspeed": "zero3"},
    "full, ZeRO-2 with offload": {"method": "full", "learning_rate": 1e-5, "deepspeed": "zero2-offload"},
    "full, ZeRO-3 with offload": {"method": "full", "learning_rate": 1e-5, "deepspeed": "zero3-offload"},
    "validation, early stopping": {"validation_dataset": "auto", "validation_steps": 2, "early_stopping": 3},
}
REHEARSED = ("qlora, ZeRO-2", "validation, early stopping")
ON_A_CARD: dict[str, dict[str, Any]] = {
    "float16": {"dtype": "float16"},
    "qlora, 8 bits": {"quantization_bits": 8},
    "paged AdamW in 8 bits": {"optimizer": "paged_adamw_8bit"},
    "paged AdamW in 32 bits": {"optimizer": "paged_adamw_32bit"},
}
ON_SEVERAL: dict[str, dict[str, Any]] = {
    "{} cards, DDP": {"gpus": "all", "deepspeed": "none"},
    "{} cards, ZeRO-2": {"gpus": "all", "deepspeed": "zero2"},
    "{} cards, lora, ZeRO-3": {"gpus": "all", "deepspeed": "zero3", "method": "lora"},
    "{} cards, full, ZeRO-3": {"gpus": "all", "deepspeed": "zero3", "method": "full", "learning_rate": 1e-5},
}


def variants(bench: Bench) -> Iterator[Row]:
    """Train the small model in each way."""
    count = len(bench.cards)
    chosen = {title: VARIANTS[title] for title in REHEARSED} if bench.rehearse else VARIANTS | ON_A_CARD
    if count > 1:
        chosen |= {title.format(count): options for title, options in ON_SEVERAL.items()}
    wanted = product(chosen.items(), BACKENDS)
    yield from several(
        bench,
        (
            ({"training": title, "framework": backend}, {**options, "backend": backend})
            for (title, options), backend in wanted
        ),
    )
    names = {"training": "stopped and resumed"}
    works = [
        partial(attempt, {**names, "framework": backend}, partial(resumed, bench, backend)) for backend in BACKENDS
    ]
    yield from at_once(bench.jobs, works)


def lengths(bench: Bench) -> Iterator[Row]:
    """Train the small model with several cutoff lengths and micro batches."""
    grid = [(32, 1), (48, 2)] if bench.rehearse else [(512, 1), (1024, 1), (2048, 1), (4096, 1), (512, 4), (1024, 4)]
    yield from several(
        bench,
        (
            (
                {"framework": backend, "cutoff": cutoff, "batch": batch},
                {"backend": backend, "cutoff_length": cutoff, "micro_batch_size": batch, "max_steps": 3},
            )
            for (cutoff, batch), backend in product(grid, BACKENDS)
        ),
    )


TOOK = {"estimate": "estimate, GiB", "allocated": "torch, GiB", "loss": "loss", "result": "result"}
PHASES = {
    "models": Phase(
        "Models of random weights",
        180,
        models,
        {"model": "model", "shape": "shape", "size": "GB", "seconds": "s", "result": "result"},
    ),
    "doctor": Phase(
        "Doctor, and a training without nvcc",
        240,
        doctor,
        {"what": "what", "found": "found", "seconds": "s", "result": "result"},
    ),
    "qlora": Phase(
        "4-bit QLoRA of the large model",
        300,
        qlora,
        {
            "framework": "framework",
            "dtype": "dtype",
            "tokens_per_second": "tokens a second",
            "estimate_with_cuda": "estimate with CUDA, GiB",
            "card": "nvidia-smi, GiB",
            **TOOK,
        },
    ),
    "merge": Phase(
        "Merge on CUDA against the CPU",
        240,
        merging.merges,
        {
            "merge": "merge",
            "cpu": "CPU, s",
            "cuda": "CUDA, s",
            "values": "values",
            "differing": "differing",
            "largest": "largest difference",
            "result": "result",
        },
    ),
    "answers": Phase(
        "Chat and predict",
        300,
        answering.answers,
        {
            "bits": "bits",
            "loading": "loading, s",
            "tokens_per_second": "chat, tokens a second",
            "questions": "questions",
            "predict": "predict with loading, s",
            "weights": "weights expected, GiB",
            "card": "nvidia-smi, GiB",
            "result": "result",
        },
    ),
    "ended": Phase(
        "What a run that is ended leaves behind",
        300,
        ending.ended,
        {
            "what": "what",
            "framework": "framework",
            "held": "held, GiB",
            "left": "left, GiB",
            "seconds": "gone after, s",
            "result": "result",
        },
    ),
    "variants": Phase(
        "Other trainings, of the small model",
        900,
        variants,
        {"training": "training", "framework": "framework", "dtype": "dtype", **TOOK},
    ),
    "lengths": Phase(
        "Memory over cutoff length and micro batch, of the small model in 4 bits",
        600,
        lengths,
        {"framework": "framework", "cutoff": "cutoff length", "batch": "micro batch", **TOOK},
    ),
}
