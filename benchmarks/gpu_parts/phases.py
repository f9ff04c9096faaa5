"""The phases, in their order: each yields a row as soon as it is measured."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from gpu_parts import answering, ending, merging
from gpu_parts.bench import BACKENDS, Bench, Row, run_at_once, try_measuring
from gpu_parts.machine_checks import doctor_phase
from gpu_parts.models import models_phase
from gpu_parts.resuming import resume_training
from gpu_parts.trainings import train_alone, train_several

MEMORY_COLUMNS = {"estimate": "estimate, GiB", "allocated": "torch, GiB", "loss": "loss", "result": "result"}


class Phase(NamedTuple):
    """What a phase measures, the seconds that it may take at most, and its table's columns by the rows' keys."""

    title: str
    seconds: int
    run: Callable[[Bench], Iterator[Row]]
    columns: dict[str, str]


def qlora_phase(bench: Bench) -> Iterator[Row]:
    """Train an adapter on the large model in 4 bits, alone on the GPU."""
    steps = {} if bench.rehearse else {"cutoff_length": 2048, "max_steps": 25}
    for backend in BACKENDS:
        options: dict[str, Any] = {"backend": backend, "model": "large", **steps}
        yield try_measuring({"framework": backend}, partial(train_alone, bench, **options))


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
ON_A_GPU: dict[str, dict[str, Any]] = {
    "float16": {"dtype": "float16"},
    "qlora, 8 bits": {"quantization_bits": 8},
    "paged AdamW in 8 bits": {"optimizer": "paged_adamw_8bit"},
    "paged AdamW in 32 bits": {"optimizer": "paged_adamw_32bit"},
}
ON_SEVERAL_GPUS: dict[str, dict[str, Any]] = {
    "{} cards, DDP": {"gpus": "all", "deepspeed": "none"},
    "{} cards, ZeRO-2": {"gpus": "all", "deepspeed": "zero2"},
    "{} cards, lora, ZeRO-3": {"gpus": "all", "deepspeed": "zero3", "method": "lora"},
    "{} cards, full, ZeRO-3": {"gpus": "all", "deepspeed": "zero3", "method": "full", "learning_rate": 1e-5},
}


def variants_phase(bench: Bench) -> Iterator[Row]:
    """Train the small model with each of the options."""
    count = len(bench.gpus)
    chosen = {title: VARIANTS[title] for title in REHEARSED} if bench.rehearse else VARIANTS | ON_A_GPU
    if count > 1:
        chosen |= {title.format(count): options for title, options in ON_SEVERAL_GPUS.items()}
    wanted = product(chosen.items(), BACKENDS)
    yield from train_several(
        bench,
        (
            ({"training": title, "framework": backend}, {**options, "backend": backend})
            for (title, options), backend in wanted
        ),
    )
    names = {"training": "stopped and resumed"}
    tasks = [
        partial(try_measuring, {**names, "framework": backend}, partial(resume_training, bench, backend))
        for backend in BACKENDS
    ]
    yield from run_at_once(bench.jobs, tasks)


def lengths_phase(bench: Bench) -> Iterator[Row]:
    """Train the small model with several cutoff lengths and micro batches."""
    grid = [(32, 1), (48, 2)] if bench.rehearse else [(512, 1), (1024, 1), (2048, 1), (4096, 1), (512, 4), (1024, 4)]
    yield from train_several(
        bench,
        (
            (
                {"framework": backend, "cutoff": cutoff, "batch": batch},
                {"backend": backend, "cutoff_length": cutoff, "micro_batch_size": batch, "max_steps": 3},
            )
            for (cutoff, batch), backend in product(grid, BACKENDS)
        ),
    )


PHASES = {
    "models": Phase(
        "Models of random weights",
        180,
        models_phase,
        {"model": "model", "shape": "shape", "size": "GB", "seconds": "s", "result": "result"},
    ),
    "doctor": Phase(
        "Doctor, and a training without nvcc",
        240,
        doctor_phase,
        {"what": "what", "found": "found", "seconds": "s", "result": "result"},
    ),
    "qlora": Phase(
        "4-bit QLoRA of the large model",
        300,
        qlora_phase,
        {
            "framework": "framework",
            "dtype": "dtype",
            "tokens_per_second": "tokens a second",
            "estimate_with_cuda": "estimate with CUDA, GiB",
            "card": "nvidia-smi, GiB",
            **MEMORY_COLUMNS,
        },
    ),
    "merge": Phase(
        "Merge on CUDA against the CPU",
        240,
        merging.merging_phase,
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
        answering.answering_phase,
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
        ending.ending_phase,
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
        variants_phase,
        {"training": "training", "framework": "framework", "dtype": "dtype", **MEMORY_COLUMNS},
    ),
    "lengths": Phase(
        "Memory over cutoff length and micro batch, of the small model in 4 bits",
        600,
        lengths_phase,
        {"framework": "framework", "cutoff": "cutoff length", "batch": "micro batch", **MEMORY_COLUMNS},
    ),
}
