"""The table of shapes that people bring: what comes of each, and the part of docs/shapes.md that says so."""

import contextlib
import functools
import json
import tempfile
from pathlib import Path

import yaml

import ftbridge
from ftbridge.adapters.mapping import headers
from ftbridge.adapters.values import decode_raw
from ftbridge.core.errors import FtbridgeError, QuestionError

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "shapes.md"
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
            *(text for turn in sample.turns for text in (decode_raw(turn.user), turn.output)),
        ]
        for sample in done.tables[0].first
    ]


def outcome(entry):
    """Return what comes of an entry, as the table says it, and the samples; each is converted once."""
    return _outcome(SHAPES.index(entry))


@functools.cache
def _outcome(at):
    entry = SHAPES[at]
    try:
        done = converted(entry)
    except QuestionError as error:
        said, options = next(iter(error.answers.items()))
        return f"asked; first offered: {said}", samples(converted(entry, **taken(options)))
    except FtbridgeError as error:
        return f"refused: {entry.get('refused')}", str(error)
    return f"read as {done.tables[0].shape}", samples(done)


def shapes_table():
    """Return the table of docs/shapes.md that says what comes of each shape."""
    lines = ["| shape | columns | what comes |", "|---|---|---|"]
    for entry in SHAPES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            said, _ = outcome(entry)
        columns = [*entry["rows"][0]] if "rows" in entry else entry["text"].split("\n")[0].split(",")
        columns = ["a list"] if entry.get("text", "").startswith("[[") else [f"`{column}`" for column in columns]
        lines.append(f"| {entry['shape']} | {', '.join(columns)} | {said} |")
    return "\n".join(lines) + "\n"


def headers_table():
    """Return the table of docs/shapes.md that names the headers of each field."""
    answers = [*sorted(headers.NAMED_CLASSES), *sorted(headers.CLASSES | headers.TARGETS)]
    rows = {
        **{f"`{field}`": names for field, names in headers.HEADERS.items()},
        "a text: the question, or its input": sorted(headers.TEXT_HEADERS),
        "two texts of which a label is told": [
            *(" and ".join(pair) for pair in headers.TEXT_PAIRS[:3]),
            "sentence1 and sentence2, 句子1 and 句子2 and the like",
        ],
        "the answer, where no better header is there": answers,
        "preferences, other reasoning, flags of the loss": [
            *("chosen, rejected, preferred, winner, rationale, scratchpad, inner monologue, 思路",),
            *("loss, train, trainable, mask, weight, no_loss, 是否训练 and the like",),
        ],
    }
    lines = [
        "| field | headers |",
        "|---|---|",
        *(f"| {field} | {', '.join(names)} |" for field, names in rows.items()),
    ]
    return "\n".join(lines) + "\n"


TABLES = {"shapes": shapes_table, "headers": headers_table}


if __name__ == "__main__":
    text = DOCS.read_text(encoding="utf-8")
    for name, made in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = before + begin + made() + end + after
    DOCS.write_text(text, encoding="utf-8")
