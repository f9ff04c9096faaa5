"""Every source with every target: what goes in comes out to the character, or is in the rejected file."""

import csv
import json
import tempfile
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.registered.entry_reader import read_rows, read_whole_conversation
from ftbridge.adapters.targets import messages
from ftbridge.core.errors import InputError
from ftbridge.dataset_info.entries import target_entry

FIELDS = ("instruction", "input", "output", "system")
ANY = st.text(max_size=12)
# What XML can hold; a workbook knows one kind of line end.
CELLS = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cn")) | st.sampled_from("\n\t"), max_size=12)
# A file of control characters is taken for no table.
TABLES = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\r\t\x85"), max_size=12)
ENCODED = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)  # half a surrogate pair has no UTF-8


def is_cell(text):
    """Tell whether a cell can hold it: blanks alone are no value, and `_x` begins an escape."""
    return "_x" not in text and (not text or bool(text.strip()))


def write_json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_json(path, rows):
    path.write_text(json.dumps(rows, indent=1), "utf-8")


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, FIELDS, quoting=csv.QUOTE_ALL)
        out.writeheader()
        out.writerows(rows)


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def write_arrow(path, rows):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table, max_chunksize=2)


def write_workbook(path, rows):
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(FIELDS)
    for number, row in enumerate(rows, 2):
        for column, field in enumerate(FIELDS, 1):
            cell = book.active.cell(number, column, row[field])
            cell.data_type = "s"  # never a formula
    book.save(path)
    book.close()


def write_folder(path, rows):
    path.mkdir()
    middle = len(rows) // 2 or 1
    for number, some in enumerate((rows[:middle], rows[middle:])):
        if some:
            write_json_lines(path / f"{number}.jsonl", some)


SOURCES = {
    "arrow": (write_arrow, ENCODED),
    "csv": (write_csv, TABLES),
    "folder": (write_folder, ANY),
    "json": (write_json, ANY),
    "jsonl": (write_json_lines, ANY),
    "parquet": (write_parquet, ENCODED),
    "workbook": (write_workbook, CELLS.filter(is_cell)),
}


def is_good(row):
    texts = [row[field] for field in FIELDS]
    whole = all(
        "\0" not in text and text.isprintable() | (text == text.encode(errors="ignore").decode()) for text in texts
    )
    return whole and bool(row["output"].strip()) and bool((row["instruction"] + row["input"]).strip())


def read_back(part, target):
    """Return system, what the user says, and the answer of each sample."""
    for line in part.files[target].read_bytes().splitlines():
        sample = json.loads(line)
        if target == "xtuner":
            (turn,) = sample["conversation"]
            yield turn["system"], turn["input"], turn["output"]
        elif target == "alpaca":
            asked = "\n".join(filter(None, (sample["instruction"], sample["input"])))
            yield sample["system"], asked, sample["output"]
        else:
            asked, answered = sample["messages"]
            yield sample["system"], asked["content"], answered["content"]


def check(source, target, rows):
    """Convert `rows` and compare what came out with what went in."""
    write, _ = SOURCES[source]
    good = [row for row in rows if is_good(row)]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        path = Path(scratch) / ("rows.csv" if source == "csv" else "rows")  # the others are told by content
        write(path, rows)
        if not good:
            with pytest.raises(InputError, match=r"can(not)? be used|no rows|holds no|is empty"):
                convert(path, dataset_dir=Path(scratch) / "data", on_error="skip", to=[target])
            return
        done = convert(path, dataset_dir=Path(scratch) / "data", on_error="skip", to=[target])
        (part,) = done.parts
        expected = [
            (
                row["system"],
                "\n".join(filter(None, (row["instruction"], row["input"]))),
                row["output"],
            )
            for row in good
        ]
        found = list(read_back(part, target))
        assert found == expected
        rejected = done.rejected_file.read_bytes().splitlines() if done.rejected_file else []
        counts = done.counts
        assert (counts.written, counts.rejected) == (len(good), len(rejected))
        assert counts.read == counts.written + counts.rejected
        assert counts.read + counts.empty >= len(good) + len(rejected)


def rows_of(texts):
    row = st.fixed_dictionaries(dict.fromkeys(FIELDS, texts))
    return st.lists(row, min_size=1, max_size=6)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=12)
@given(st.data())
def test_samples_of_any_source_come_back_from_any_target(source, data):
    check(source, data.draw(st.sampled_from(["xtuner", "alpaca", "sharegpt"])), data.draw(rows_of(SOURCES[source][1])))


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=10_000)
@given(st.data())
def test_ten_thousand_samples_of_any_source_come_back_from_any_target(source, data):
    check(source, data.draw(st.sampled_from(["xtuner", "alpaca", "sharegpt"])), data.draw(rows_of(SOURCES[source][1])))


SAID = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
FILLED = SAID.filter(str.strip) | st.sampled_from(["<think>hm</think>so", "2024-01-01", " \u00a0x\n", '{"a": [1]}'])
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "cot", "思考过程")
# Flags by name, each with what leaves an answer out and what does not.
FLAGS = {
    "train": (False, True),
    "loss_weight": (0.0, 1),
    "no_loss": ("yes", 0),
    "是否训练": ("否", "是"),
    "loss": ([0], 1),
}
ARGUMENTS = st.dictionaries(
    SAID,
    SAID | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.lists(SAID),
    max_size=3,
)


@st.composite
def said_by_assistant(draw, *, calling):
    """Draw an answer, or a call of tools, as a source writes it, and as the file of messages has it."""
    text, thought = (
        draw(FILLED if not calling else SAID),
        draw(st.just("") | FILLED.filter(lambda each: "<" not in each)),
    )
    text = "so" if thought and "<think>" in text else text
    flag, learned = draw(st.sampled_from([*FLAGS])), draw(st.booleans())
    given = {"role": "assistant", "content": text, flag: FLAGS[flag][learned]}
    due = {"role": "assistant", "content": text}
    if thought.strip() and thought.strip().lower() not in {"[]", "{}", "null", "none"}:
        given[draw(st.sampled_from(THOUGHTS))] = due["reasoning_content"] = thought
    if calling:
        arguments = draw(st.lists(ARGUMENTS, min_size=1, max_size=2))
        calls = [{"type": "function", "function": {"name": "look", "arguments": each}} for each in arguments]
        as_text = [{"function": {"name": "look", "arguments": json.dumps(each)}} for each in arguments]
        given["tool_calls"], due["tool_calls"] = draw(st.sampled_from([calls, as_text])), calls
    return given, due if learned else due | {"train": False}


@st.composite
def talks(draw):
    """Draw a conversation with flags, thoughts and tools as a source writes it, and as the file of messages has it."""
    system, tools = draw(st.just("") | FILLED), draw(st.sampled_from([[], [{"name": "look", "parameters": {}}]]))
    both = [({"role": "system", "content": system},) * 2] if system else []
    for _ in range(draw(st.integers(1, 3))):
        both.append(({"role": "user", "content": draw(FILLED)},) * 2)
        for _ in range(draw(st.integers(0, 2))):
            both.append(draw(said_by_assistant(calling=True)))
            for _ in range(draw(st.integers(1, 2))):
                heard = {"role": "tool", "content": draw(SAID), **draw(st.sampled_from([{}, {"name": "look"}]))}
                both.append((heard, heard))
        both.append(draw(said_by_assistant(calling=False)))
    given, due = ([*each] for each in zip(*both, strict=True))
    offered = [{"type": "function", "function": each} for each in tools]
    given = {"messages": given, "tools": tools}
    return given, {"messages": due, **({"tools": offered} if offered else {})}


def is_learned_somewhere(talk):
    return any(each["role"] == "assistant" and each.get("train", True) for each in talk["messages"])


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(talks().filter(lambda each: is_learned_somewhere(each[1])), min_size=1, max_size=4))
def test_messages_with_flags_thoughts_and_tools_come_back_byte_for_byte(rows):
    given, due = zip(*rows, strict=True)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        write_json_lines(folder / "rows.jsonl", given)
        first = convert(folder / "rows.jsonl", dataset_dir=folder / "data").parts[0].files["messages"]
        written = first.read_bytes()
        assert [json.loads(line) for line in written.splitlines()] == [*due]
        entry = target_entry("messages", "rows", str(first))
        samples = (messages.sample(read_whole_conversation(entry, row)) for row in read_rows(first))
        assert b"".join(msgspec.json.encode(each) + b"\n" for each in samples) == written
        again = convert(first, dataset_dir=folder / "again").parts[0].files["messages"]
        assert again.read_bytes() == written
