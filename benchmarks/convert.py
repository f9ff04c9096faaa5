"""JSON lines into training data: `ftbridge convert` against Hugging Face's `datasets`, in one run.

    python benchmarks/convert.py --peer PYTHON [--rows 1000000]

PYTHON is one that has `datasets`, such as that of the training environment. The peer loads, maps and writes one
format; ftbridge checks every row, writes all three, and registers them.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from measure import best_of

PEER = """
from datasets import load_dataset
rows = load_dataset("json", data_files="rows.jsonl", split="train", cache_dir="cache")
rows = rows.map(
    lambda row: {"conversation": [{"system": "", "input": row["instruction"], "output": row["output"]}]},
    remove_columns=rows.column_names,
)
rows.to_json("peer.jsonl", force_ascii=False)
"""
ENGLISH = (__doc__ or "").split()
CHINESE = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后"


def write_rows(file: Path, rows: int) -> None:
    draw = random.Random(1)  # noqa: S311 - made-up text
    with file.open("w", encoding="utf-8") as out:
        for number in range(rows):
            question = "".join(draw.choices(CHINESE, k=18)) + " " + " ".join(draw.choices(ENGLISH, k=8))
            answer = "".join(draw.choices(CHINESE, k=90)) + "\n" + " ".join(draw.choices(ENGLISH, k=24))
            record = {"instruction": f"{question} {number}?", "input": "", "output": answer}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    ours = [sys.executable, "-m", "ftbridge", "convert", "rows.jsonl"]
    commands = {
        "datasets, one format": [options.peer, "-c", PEER],
        "ftbridge, three formats": ours,
        "  --to xtuner,alpaca": [*ours, "--to", "xtuner,alpaca"],
        "  --split 7:3": [*ours, "--split", "7:3"],
        "  and --dedup exact --sample 100": [*ours, "--split", "7:3", "--dedup", "exact", "--sample", "100"],
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        source = Path(scratch) / "rows.jsonl"
        write_rows(source, options.rows)
        print(f"{options.rows:,} JSON lines, {source.stat().st_size / 1e6:.0f} MB")
        best = best_of(options.runs, commands, source)
    for title, (seconds, megabytes) in best.items():
        ratio = best["datasets, one format"].seconds / seconds
        print(f"{title:34} {seconds:6.2f} s {megabytes:6.0f} MB  {ratio:5.1f} times as fast")


if __name__ == "__main__":
    main()
