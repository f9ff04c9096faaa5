"""Ready tokens: `tokenize_dataset.py` against `datasets.map` with `apply_chat_template`, a row at a time.

    python benchmarks/tokenize.py --model FOLDER [FILE ...] [--rows 40000] [--runs 3]

FOLDER holds a tokenizer and its chat template. Each FILE is converted as `ftbridge convert` does it, and its
conversations are repeated up to so many; without one, rows of long Chinese and of English are made up. All run in the
training environment, with as many processes as there are cores. Both make the same ids, which is checked; ours also
labels each answer, counts, and leaves shards that can be gone on with. Beside them stands the tokenizer itself, which
gets whole texts in batches, in one process. The last lines tell the memory of `ftbridge tokenize`, for two sizes.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from convert import ENGLISH, write_rows
from measure import measure_command

import ftbridge
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.templates.chat_templates import read_chat_template

PYTHON = str(default_folder() / "bin" / "python")
PEER = """
import os, sys
from datasets import load_dataset
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = load_dataset("json", data_files="rows.jsonl", split="train", cache_dir="cache")
rows = rows.map(
    lambda row: {"input_ids": tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)},
    remove_columns=rows.column_names,
    num_proc=os.cpu_count(),
)
rows.save_to_disk("data")
"""
BATCHES = """
import datasets, json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = [tokenizer.apply_chat_template(json.loads(line)["messages"], tokenize=False) for line in open("rows.jsonl")]
import resource, time
before, start = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), time.perf_counter()
for at in range(0, len(texts), 200):
    tokenizer(texts[at : at + 200], add_special_tokens=False)
print(time.perf_counter() - start, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before)
"""
HASH = """
import datasets, hashlib
found = hashlib.sha256()
for row in datasets.load_from_disk("data"):
    found.update(repr(row["input_ids"]).encode())
print(found.hexdigest())
"""
START = "import datasets, transformers, sys; transformers.AutoTokenizer.from_pretrained(sys.argv[1])"
OURS, THEIRS, ALONE = "ftbridge", "datasets.map", "tokenizer alone"

PROCESSES = ("ftbridge", "what guards the script", "the script", "each process of it")  # by who started whom
Spent = dict[str, tuple[float, float]]  # wall and CPU seconds, by who spent them


def write_english(file: Path, rows: int) -> None:
    draw = random.Random(1)  # noqa: S311 - made-up text
    words = [*ENGLISH, *(word.capitalize() for word in ENGLISH)]
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            question, answer = (" ".join(draw.choices(words, k=draw.randint(8, most))) for most in (16, 90))
            out.write(json.dumps({"instruction": f"{question}?", "input": "", "output": f"{answer}."}) + "\n")


def messages_of(file: Path) -> list[str]:
    """Return the lines of the messages that a file is converted to."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        ftbridge.convert(str(file), name="rows")
        (made,) = Path(folder).rglob("*.messages.jsonl")
        return made.read_text("utf-8").splitlines(keepends=True)


def spent(argv: list[str], source: Path) -> tuple[float, float]:
    """Return the wall and CPU seconds of a command that writes into the folder `data` beside the source."""
    for made in ("data", "cache"):
        shutil.rmtree(source.with_name(made), ignore_errors=True)
    source.with_name("data").mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = measure_command(argv, source.parent, source).seconds
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def printed(code: str, folder: Path, *arguments: str) -> str:
    argv = [PYTHON, "-c", code, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout


def compare(model: Path, source: Path, runs: int) -> list[Spent]:
    """Return what each takes for the conversations of a file, in turns, less what loading a tokenizer takes."""
    told = {"model": str(model), "trust_remote_code": False, "file": "rows.jsonl", "folder": "data"}
    told |= {"template": read_chat_template(model), "last_only": False, "packing": False, "cutoff_length": 1 << 20}
    told |= {"too_long": "cut", "processes": os.cpu_count(), "fingerprint": "0" * 16}
    commands = {
        THEIRS: [PYTHON, "-c", PEER, str(model)],
        OURS: [PYTHON, str(SCRIPTS / "tokenize_dataset.py"), json.dumps(told)],
    }
    found, starts = [], []
    for number in range(runs):
        starts.append(spent([PYTHON, "-c", START, str(model)], source))
        run, ids = {}, set()
        for title, argv in commands.items():
            run[title] = spent(argv, source)
            if not number:
                ids.add(printed(HASH, source.parent))
        if len(ids) > 1:
            raise SystemExit("the two make other ids of the same conversations")
        wall, cpu = map(float, printed(BATCHES, source.parent, str(model)).split())
        found.append({**run, ALONE: (wall, cpu)})
    wall, cpu = map(min, zip(*starts, strict=True))  # a slow moment would make the others seem quick
    for run in found:
        run |= {title: (run[title][0] - wall, run[title][1] - cpu) for title in commands}
    return found


def in_words(title: str, rows: int, runs: list[Spent]) -> str:
    """Return the medians of one, and of its ratios to `datasets.map` in the same run."""

    def medians(at: int) -> tuple[float, float]:
        pairs = [(run[title][at], run[THEIRS][at]) for run in runs]
        return statistics.median(own for own, _ in pairs), statistics.median(theirs / own for own, theirs in pairs)

    (wall, faster), (cpu, cheaper) = medians(0), medians(1)
    rates = f"{rows / wall:7,.0f} rows/s, {rows / cpu:7,.0f} a second of CPU"
    return f"  {title:16} {rates}; against datasets.map {faster:.2f} times, by CPU {cheaper:.2f}"


def print_memory(model: Path, lines: list[str], sizes: tuple[int, int]) -> None:
    """Print the peaks of the resident memory of `ftbridge tokenize`, of its script, and of the script's processes."""
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
            source = Path(name) / "rows.jsonl"
            with source.open("w", encoding="utf-8") as out:
                out.writelines(islice(cycle(lines), rows))
            ftbridge.convert(source.name)
            argv = [sys.executable, "-m", "ftbridge", "tokenize", "rows", "--model", str(model)]
            peaks = measure_command(argv, Path(name), source).by_depth
        told = ", ".join(f"{who} {peak:.0f} MB" for who, peak in zip(PROCESSES, peaks, strict=False))
        print(f"{rows:9,} conversations: {told}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ |= CHILD_ENV
    model, rows = options.model.absolute(), options.rows
    with tempfile.TemporaryDirectory() as scratch:
        files = [file.absolute() for file in options.files]
        if not files:
            files = [Path(scratch, "long Chinese.jsonl"), Path(scratch, "English.jsonl")]
            write_rows(files[0], rows)
            write_english(files[1], rows)
        source = Path(scratch) / "rows.jsonl"
        lines: list[str] = []
        for file in files:
            lines = messages_of(file)
            with source.open("w", encoding="utf-8") as out:
                out.writelines(islice(cycle(lines), rows))
            print(f"{file.stem}: {rows:,} conversations, {source.stat().st_size / 1e6:.0f} MB")
            runs = compare(model, source, options.runs)
            for title in (THEIRS, OURS, ALONE):
                print(in_words(title, rows, runs))
        print_memory(model, lines, (rows // 2, rows * 5))


if __name__ == "__main__":
    sys.exit(main())
