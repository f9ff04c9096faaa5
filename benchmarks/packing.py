"""Packed against unpacked training: samples a second on both frameworks, with as many tokens per optimiser step.

    python benchmarks/packing.py --model FOLDER [FILE ...] [--cutoff-length 1024] [--steps 6]

Each FILE is converted as `ftbridge convert` does it, or a set of short rows is made up where none is given. The
unpacked training takes one sample at a time (`--micro-batch-size 1`), and accumulates as many as hold the tokens of a
pack; the packed one takes a pack. Times are between the first and the last step that a framework logs.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path

import ftbridge
from ftbridge.core.files.atomic import json_lines

BACKENDS = ("xtuner", "llamafactory")
OPTIONS = {"device": "cpu", "lora_rank": 8, "method": "lora", "tokens": "once", "validation_dataset": "none"}
WORDS = (__doc__ or "").split()


def write_short_rows(file: Path, rows: int = 800) -> None:
    draw = random.Random(1)  # noqa: S311 - made-up text
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            question, answer = (" ".join(draw.choices(WORDS, k=draw.randint(2, most))) for most in (12, 24))
            out.write(json.dumps({"instruction": question, "input": "", "output": answer}) + "\n")


def samples_a_second(dataset: str, options: dict[str, object], packing: bool, accumulation: int) -> float:
    """Return the samples a second of a training, each step of which takes as many tokens."""
    run = ftbridge.train(dataset=dataset, packing=packing, gradient_accumulation_steps=accumulation, **options)  # type: ignore[arg-type]
    times = [record["time"] for record in json_lines(run.path / "metrics.jsonl") if "loss" in record]
    return (len(times) - 1) * accumulation / (times[-1] - times[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--cutoff-length", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    given = parser.parse_args()
    model, files = given.model.absolute(), [file.absolute() for file in given.files]
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        if not files:
            files = [Path("short.jsonl").absolute()]
            write_short_rows(files[0])
        for file in files:
            ftbridge.convert(str(file), name="rows", replace=True)
            for backend in given.backend or BACKENDS:
                options = {**OPTIONS, "backend": backend, "model": str(model), "max_steps": given.steps}
                options |= {"cutoff_length": given.cutoff_length, "micro_batch_size": 1}
                compare(file.stem, backend, options)


def compare(title: str, backend: str, options: dict[str, object]) -> None:
    """Print how many samples a second one and the other trains, and the ratio."""
    ready = ftbridge.train(dataset="rows", packing=True, gradient_accumulation_steps=1, **options)  # type: ignore[arg-type]
    counts = next(
        json.loads(file.read_text("utf-8"))["counts"]
        for file in Path(".ftbridge/tokens").glob("*/fingerprint.json")
        if json.loads(file.read_text("utf-8"))["fingerprint"]["options"]["packing"]
    )
    times = [record["time"] for record in json_lines(ready.path / "metrics.jsonl") if "loss" in record]
    a_pack = counts["samples"] / counts["rows"]
    packed = (len(times) - 1) * a_pack / max(times[-1] - times[0], 1e-9)
    alone = samples_a_second("rows", options, packing=False, accumulation=round(a_pack))
    print(
        f"{title} on {backend}: {a_pack:.1f} samples a pack of {counts['tokens'] / counts['rows']:.0f} tokens; "
        f"{packed:.1f} samples/s packed, {alone:.1f} unpacked, {packed / alone:.2f} times as many"
    )


if __name__ == "__main__":
    sys.exit(main())
