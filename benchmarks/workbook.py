"""A workbook into training data: `ftbridge convert` against two scripts on openpyxl, in one run.

    python benchmarks/workbook.py [--rows 200000] [--runs 3]

The scripts load a workbook and write one list as JSON, as that of the XTuner tutorial does; ftbridge checks every
row, writes all three formats, and registers them. The commands take turns, and the best run of each counts.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from measure import best_of

SCRIPT = """
import json
import openpyxl
sheet = openpyxl.load_workbook("faq.xlsx", read_only={read_only})["DrugQA"]
system = "You are a professional, highly experienced doctor professor."
data = []
for row in sheet.iter_rows(min_row=2, values_only=True):
    data.append({{"conversation": [{{"system": system, "input": row[0], "output": row[3]}}]}})
with open("faq.jsonl", "w", encoding="utf-8") as file:
    json.dump(data, file, ensure_ascii=False, indent=4)
"""
OURS = "ftbridge, three formats"
COMMANDS = {
    OURS: [sys.executable, "-m", "ftbridge", "convert", "faq.xlsx"],
    "  --to xtuner,alpaca": [sys.executable, "-m", "ftbridge", "convert", "faq.xlsx", "--to", "xtuner,alpaca"],
    "tutorial's script, one format": [sys.executable, "-c", SCRIPT.format(read_only=False)],
    "the same with read_only=True": [sys.executable, "-c", SCRIPT.format(read_only=True)],
}
ENGLISH = "medicine dose what is the for patients how much take daily with food and water"
CHINESE = "药物 剂量 每天 饭后 服用"


def write_rows(path: Path, rows: int) -> None:
    import openpyxl

    draw = random.Random(1)  # noqa: S311 - made-up text
    words = f"{ENGLISH} {CHINESE}".split()
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("DrugQA")
    sheet.append(["Question", "Focus (Drug)", "Score", "Answer"])
    for number in range(rows):
        question, answer = (" ".join(draw.choices(words, k=length)) for length in (8, 30))
        sheet.append([f"{number} {question}?", draw.choice(words), number, answer])
    book.save(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        source = Path(scratch) / "faq.xlsx"
        write_rows(source, options.rows)
        print(f"{options.rows:,} rows of 4 columns, {source.stat().st_size / 1e6:.0f} MB")
        best = best_of(options.runs, COMMANDS, source)
    for title, (seconds, megabytes) in best.items():
        ratio = "" if title == OURS else f"  {seconds / best[OURS].seconds:.1f} times as long"
        print(f"{title:30} {seconds:6.2f} s {megabytes:6.0f} MB{ratio}")


if __name__ == "__main__":
    main()
