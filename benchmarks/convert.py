"""JSON lines into training data: `ftbridge convert` against Hugging Face's `datasets`, in one run.

    python benchmarks/convert.py --peer PYTHON [--rows 1000000]

PYTHON is one that has `datasets`, such as that of the training environment. The peer loads, maps and writes one of
the two formats; ftbridge checks every row, writes both, and registers them.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from measure import measured

PEER = """
import sys
from datasets import load_dataset
rows = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
rows = rows.map(
    lambda row: {"conversation": [{"system": "", "input": row["instruction"], "output": row["output"]}]},
    remove_columns=rows.column_names,
)
rows.to_json(sys.argv[3], force_ascii=False)
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
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        source = folder / "rows.jsonl"
        write_rows(source, asked.rows)
        print(f"{asked.rows:,} JSON lines, {source.stat().st_size / 1e6:.0f} MB")
        peer = measured(
            [asked.peer, "-c", PEER, str(source), str(folder / "cache"), str(folder / "peer.jsonl")], folder
        )
        print(f"datasets, one format               {peer.seconds:6.1f} s {peer.megabytes:6.0f} MB")
        for title, options in {
            "ftbridge, both formats": [],
            "  --split 7:3": ["--split", "7:3"],
            "  --split 7:3 --dedup exact --sample 100,1000": [
                "--split",
                "7:3",
                "--dedup",
                "exact",
                "--sample",
                "100,1000",
            ],
        }.items():
            command = [sys.executable, "-m", "ftbridge", "convert", str(source), "--name", "rows", "--replace"]
            ours = measured([*command, *options], folder)
            ratio = f"{peer.seconds / ours.seconds:5.1f} times faster"
            print(f"{title:<34} {ours.seconds:6.1f} s {ours.megabytes:6.0f} MB  {ratio}")


main()
