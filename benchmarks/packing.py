"""Packed against unpacked training: samples a second on both frameworks, with as many tokens per optimiser step.

    python benchmarks/packing.py [FILE ...] [--model FOLDER] [--samples 64] [--cutoff-length 512] [--rounds 3]

The first samples of each FILE, or short rows that are made up, are converted as `ftbridge convert` does it. Without
--model, one is made of them (`--hidden`, `--layers`). Each training is an epoch of these samples. The packed one takes
a pack per optimiser step. The unpacked one takes one sample at a time (`--micro-batch-size 1`), and as many per step
as a pack holds. The optimiser itself tells when its steps end, in the framework's process; up to the first of them is
warm-up. The two are trained in turns, and the medians are shown.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import ftbridge
from ftbridge.core.files.atomic import json_lines
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.training.prepare import prepare

PYTHON = default_folder() / "bin" / "python"
BACKENDS = ("xtuner", "llamafactory")
OPTIONS = {"device": "cpu", "lora_rank": 8, "method": "lora", "validation_dataset": "none", "micro_batch_size": 1}
WORDS = (__doc__ or "").split()
# Every Python of the training environment loads this; only that which trains writes: seconds, and seconds of CPU.
CLOCK = """
import os, sys, time
if any(each.endswith("run_backend.py") for each in sys.orig_argv):
    from torch.optim.optimizer import register_optimizer_step_post_hook
    steps = open(os.environ["STEPS_FILE"], "w", buffering=1)
    register_optimizer_step_post_hook(lambda *_: print(time.perf_counter(), time.process_time(), file=steps))
"""


class Speed(NamedTuple):
    """Samples a second, and a second of CPU."""

    wall: float
    cpu: float


def write_short_rows(file: Path, rows: int) -> None:
    draw = random.Random(1)  # noqa: S311 - made-up text
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            question, answer = (" ".join(draw.choices(WORDS, k=draw.randint(2, most))) for most in (12, 24))
            out.write(json.dumps({"instruction": question, "input": "", "output": answer}) + "\n")


def made_model(folder: Path, dataset_dir: Path, hidden: int, layers: int) -> Path:
    """Return a new model, whose tokenizer is trained on the dataset."""
    (messages,) = dataset_dir.glob("*.messages.jsonl")
    texts = [message["content"] for line in json_lines(messages) for message in line["messages"]]
    return base_model(folder, PYTHON, texts, vocabulary=8000, hidden=hidden, layers=layers)


def speed_of(options: dict[str, Any], samples: float, steps_file: Path) -> Speed:
    """Return how fast a training of so many samples is between its first and its last optimiser step."""
    ftbridge.train(**options)
    steps = [tuple(map(float, line.split())) for line in steps_file.read_text().splitlines()]
    samples *= 1 - 1 / len(steps)
    return Speed(*(samples / (last - first) for first, last in zip(steps[0], steps[-1], strict=True)))


def compare(title: str, options: dict[str, Any], rounds: int, steps_file: Path) -> None:
    """Print how many samples a second are trained packed and unpacked, in turns."""
    packed = {**options, "packing": True, "gradient_accumulation_steps": 1}
    tokens = prepare(**packed).plan.tokens
    if not tokens:
        raise SystemExit("the model has no chat template")
    counts = tokens.counts
    a_pack = counts.samples / counts.rows
    alone = {**options, "packing": False, "gradient_accumulation_steps": round(a_pack)}
    speeds = [tuple(speed_of(each, counts.samples, steps_file) for each in (packed, alone)) for _ in range(rounds)]
    (wall, times), (cpu, cheaper) = (
        (
            statistics.median(one[at] for one, _ in speeds),
            statistics.median(one[at] / other[at] for one, other in speeds),
        )
        for at in (0, 1)
    )
    print(
        f"{title} on {options['backend']}: {counts.samples} samples of {counts.tokens / counts.samples:.0f} tokens, "
        f"{a_pack:.1f} a pack; packed {wall:.1f} samples/s, {times:.2f} times as many as unpacked; "
        f"{cpu:.1f} a second of CPU, {cheaper:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--cutoff-length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    given = parser.parse_args()
    files = [file.absolute() for file in given.files]
    model = given.model.absolute() if given.model else None
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        steps_file = Path(name, "steps.txt")
        Path("clock").mkdir()
        Path("clock", "sitecustomize.py").write_text(CLOCK)
        os.environ |= {"PYTHONPATH": str(Path(name, "clock")), "STEPS_FILE": str(steps_file)}
        if not files:
            files = [Path(name, "short rows.jsonl")]
            write_short_rows(files[0], given.samples)
        for file in files:
            made = ftbridge.convert(str(file), name="rows", limit=given.samples, replace=True)
            options = {**OPTIONS, "dataset": "rows", "epochs": 1, "cutoff_length": given.cutoff_length}
            options["model"] = str(
                model or made_model(Path(name, file.stem), made.dataset_dir, given.hidden, given.layers)
            )
            for backend in given.backend or BACKENDS:
                compare(file.stem, {**options, "backend": backend}, given.rounds, steps_file)


if __name__ == "__main__":
    sys.exit(main())
