"""The table of shapes that people bring: what comes of each, and the part of docs/data.md that says so."""

import contextlib
import json
import tempfile
from pathlib import Path

import yaml

import ftbridge
from ftbridge.adapters.values import plain
from ftbridge.core.errors import FtbridgeError, QuestionError

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "data.md"
BEGIN, END = "<!-- from tests/adapters/shapes.yaml -->\n", "<!-- end -->"
SHAPES = yaml.safe_load((HERE / "shapes.yaml").read_text(encoding="utf-8"))


def taken(options):
    """Return the options of an answer as arguments of `convert`."""
    given = {"map": {}, "role": {}}
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option in {"--map", "--role"}:
            given[option.removeprefix("--")] |= [value.split("=", 1)]
        else:
            given[option.removeprefix("--")] = value
    return {option: value for option, value in given.items() if value}


def converted(entry, **options):
    """Convert the rows of an entry in the working folder."""
    file = Path(entry.get("file", "rows.jsonl"))
    rows = (json.dumps(row, ensure_ascii=False) for row in entry.get("rows", ()))
    file.write_text(entry.get("text") or "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return ftbridge.convert(file, replace=True, **options)


def samples(done):
    """Return the texts of each sample in order, a system prompt first."""
    return [
        [
            *([f"system: {sample.system}"] if sample.system else []),
            *(text for turn in sample.turns for text in (plain(turn.user), turn.output)),
        ]
        for sample in done.tables[0].first
    ]


def outcome(entry):
    """Return what comes of an entry, as the table says it, and the samples."""
    try:
        done = converted(entry)
    except QuestionError as error:
        said, options = next(iter(error.answers.items()))
        return f"asked; first offered: {said}", samples(converted(entry, **taken(options)))
    except FtbridgeError as error:
        return "refused by name", str(error)
    return f"read as {done.tables[0].shape}", samples(done)


def table():
    """Return the table of docs/data.md."""
    lines = ["| shape | columns | what comes |", "|---|---|---|"]
    for entry in SHAPES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            said, _ = outcome(entry)
        columns = [*entry["rows"][0]] if "rows" in entry else entry["text"].split("\n")[0].split(",")
        columns = ["a list"] if entry.get("text", "").startswith("[[") else [f"`{column}`" for column in columns]
        lines.append(f"| {entry['shape']} | {', '.join(columns)} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    DOCS.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")
