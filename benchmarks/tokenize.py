"""Ready tokens: `tokenize_dataset.py` against `datasets.map` with `apply_chat_template`, a row at a time.

    python benchmarks/tokenize.py --model FOLDER [--rows 40000] [--runs 3]

FOLDER holds a tokenizer and its chat template. All run in the training environment, with as many processes as there
are cores. Ours also labels each answer, counts, and leaves shards that can be gone on with; the peer makes the ids
alone. Beside them stands the tokenizer itself, in batches, which neither can be faster than.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convert import write_rows
from measure import measure_command

from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS

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
lines = [json.loads(line)["messages"] for line in open("rows.jsonl", encoding="utf-8")]
texts = ["".join(message["content"] for message in messages) for messages in lines]
for start in range(0, len(texts), 200):
    tokenizer(texts[start : start + 200], add_special_tokens=False)
"""
START = "import datasets, transformers, sys; transformers.AutoTokenizer.from_pretrained(sys.argv[1])"


def write_messages(file: Path, rows: int) -> None:
    alpaca = file.with_name("alpaca.jsonl")
    write_rows(alpaca, rows)
    with alpaca.open(encoding="utf-8") as source, file.open("w", encoding="utf-8") as out:
        for row in map(json.loads, source):
            question = {"role": "user", "content": row["instruction"]}
            turns = {"messages": [question, {"role": "assistant", "content": row["output"]}]}
            out.write(json.dumps(turns, ensure_ascii=False) + "\n")


def measured(argv: list[str], source: Path) -> Iterator[float]:
    """Yield wall seconds, CPU seconds and megabytes of a command."""
    for made in ("data", "cache"):
        shutil.rmtree(source.with_name(made), ignore_errors=True)
    source.with_name("data").mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = measure_command(argv, source.parent, source)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield found.seconds
    yield after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield found.megabytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ |= CHILD_ENV
    model = options.model.absolute()
    told = {"model": str(model), "trust_remote_code": False, "file": "rows.jsonl", "folder": "data"}
    told |= {"template": (model / "chat_template.jinja").read_text("utf-8"), "last_only": False, "packing": False}
    told |= {"cutoff_length": 2048, "too_long": "cut", "processes": os.cpu_count(), "fingerprint": "0" * 16}
    commands = {
        "start": [PYTHON, "-c", START, str(model)],
        "datasets.map": [PYTHON, "-c", PEER, str(model)],
        "ftbridge": [PYTHON, str(SCRIPTS / "tokenize_dataset.py"), json.dumps(told)],
        "tokenizer alone": [PYTHON, "-c", BATCHES, str(model)],
    }
    for rows in (options.rows // 4, options.rows):
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "rows.jsonl"
            write_messages(source, rows)
            print(f"{rows:,} conversations, {source.stat().st_size / 1e6:.0f} MB")
            runs = [
                {title: tuple(measured(argv, source)) for title, argv in commands.items()} for _ in range(options.runs)
            ]
        for title in list(commands)[1:]:
            print(in_words(title, rows, runs))


def in_words(title: str, rows: int, runs: list[dict[str, tuple[float, ...]]]) -> str:
    """Return the medians of a command, less what loading the tokenizer costs, which is no matter of rows."""

    def medians(at: int) -> tuple[float, float]:
        pairs = [(run[title][at] - run["start"][at], run["datasets.map"][at] - run["start"][at]) for run in runs]
        return statistics.median(own for own, _ in pairs), statistics.median(peer / own for own, peer in pairs)

    (wall, faster), (cpu, cheaper) = medians(0), medians(1)
    return (
        f"{title:16} {rows / wall:7.0f} rows/s, {rows / cpu:7.0f} a second of CPU; "
        f"{max(run[title][2] for run in runs):5.0f} MB; against datasets.map {faster:.2f} times, by CPU {cheaper:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
