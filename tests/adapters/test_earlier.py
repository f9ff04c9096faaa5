"""What is there already is not lost without a word."""

import json
from pathlib import Path

import pytest

from ftbridge.adapters.convert import convert
from ftbridge.adapters.earlier import Replaced
from ftbridge.core.errors import QuestionError
from ftbridge.dataset_info.registry import read

SPLIT = {"split": "7:3"}


@pytest.fixture
def source(lines):
    return lines(*({"question": f"q{at}", "answer": f"a{at % 2}", "more": f"m{at}"} for at in range(20)))


def state():
    files = (path for path in Path.cwd().rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize(
    ("first", "then", "lost"),
    [
        (SPLIT, {}, "remove `faq-test` \\(6 samples\\)"),
        ({"split": "8:1:1"}, SPLIT, "remove `faq-validation` .* and perhaps put other rows into `faq-test`"),
        (SPLIT, {"split": "1:1"}, "perhaps put other rows into `faq-test` \\(6 samples\\)"),
        (SPLIT, {**SPLIT, "seed": 7}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "shuffle": False}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "stratify": "output"}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "limit": 10}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "dedup": "exact"}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "system": "be kind"}, "perhaps put other rows"),
        (SPLIT, {**SPLIT, "map": {"instruction": "more", "output": "answer"}}, "perhaps put other rows"),
    ],
    ids=str,
)
def test_a_part_is_taken_away_or_mixed_only_on_demand(source, first, then, lost):
    before = convert(source, **first)
    known = state()
    with pytest.raises(QuestionError, match=f"(?m){lost}") as error:
        convert(source, **then)
    assert state() == known
    assert error.value.answers == {
        "replace it": ["--replace"],
        "keep it, and make another dataset": ["--name", "faq-2"],
    }
    convert(source, **then, name="faq-2")
    with pytest.raises(QuestionError, match="--name faq-3"):
        convert(source, **then)
    after = convert(source, **then, replace=True)
    now = {part.name: part.samples for part in after.parts}
    assert after.replaced == tuple(
        Replaced(part.name, part.samples, now.get(part.name, 0))
        for part in sorted(before.parts, key=lambda part: part.name not in now)
    )


@pytest.mark.parametrize(
    ("first", "then", "replaced"),
    [
        (SPLIT, {**SPLIT, "to": ["xtuner", "alpaca", "sharegpt"]}, ()),
        (SPLIT, {**SPLIT, "sample": "3"}, ()),
        (SPLIT, {**SPLIT, "array": True}, ()),
        (SPLIT, {**SPLIT, "on_error": "skip"}, ()),
        ({}, SPLIT, (Replaced("faq-train", 20, 14),)),
        ({}, {"limit": 5, "system": "S"}, (Replaced("faq-train", 20, 5),)),
    ],
    ids=str,
)
def test_what_leaves_held_out_rows_alone_is_done_at_once(source, first, then, replaced):
    convert(source, **first)
    assert convert(source, **then).replaced == replaced


def test_parts_of_the_source_keep_their_rows(folder):
    Path("faq").mkdir()
    for part, numbers in (("train", range(3)), ("test", range(3, 5))):
        rows = "".join(json.dumps({"q": str(at), "a": "a"}) + "\n" for at in numbers)
        Path("faq", f"{part}.jsonl").write_text(rows)
    convert("faq")
    done = convert("faq", system="S")
    assert done.replaced == (Replaced("faq-train", 3, 3), Replaced("faq-test", 2, 2))
    with pytest.raises(QuestionError, match="remove `faq-test`"):
        convert("faq", limit=2)
    assert [part.name for part in convert("faq", limit=2, replace=True).parts] == ["faq-train"]


@pytest.mark.parametrize("options", [{}, SPLIT, {**SPLIT, "sample": "3", "dedup": "exact"}, {"on_error": "skip"}])
def test_a_dry_run_tells_the_same_and_writes_nothing(lines, options):
    rows = [{"question": f"q{at}", "answer": f"a{at}"} for at in range(20)]
    rows[3]["answer"] = "" if "on_error" in options else "<think>a</think>"
    source = lines(*rows)
    dry = convert(source, **options, dry_run=True)
    assert [path.name for path in Path.cwd().iterdir()] == ["faq.jsonl"]
    done = convert(source, **options)
    assert dry.dry_run
    assert not done.dry_run
    assert (dry.parts, dry.counts, dry.tables, dry.notes) == (done.parts, done.counts, done.tables, done.notes)
    known = state()
    assert not convert(source, **options, dry_run=True).changed
    other = convert(source, split="1:1", on_error="skip", replace=True, dry_run=True)
    assert other.replaced[0].name == "faq-train"
    assert state() == known
    assert "faq-train" in read(Path("data"))


def test_a_dry_run_tells_what_would_be_lost_and_asks_nothing(source):
    convert(source, **SPLIT)
    known = state()
    done = convert(source, dry_run=True)
    assert done.replaced == (Replaced("faq-train", 14, 20), Replaced("faq-test", 6, 0))
    assert state() == known


def test_files_of_a_format_are_taken_away_only_on_demand(source):
    convert(source)
    with pytest.raises(QuestionError, match="remove the files for xtuner and alpaca") as error:
        convert(source, to="sharegpt")
    assert error.value.answers["keep them"] == ["--to", "xtuner,alpaca,sharegpt"]
    assert list(convert(source, to=["xtuner", "alpaca", "sharegpt"]).parts[0].files) == ["xtuner", "alpaca", "sharegpt"]
    assert list(convert(source, to="sharegpt", replace=True).parts[0].files) == ["sharegpt"]


def test_a_subset_is_taken_away_only_on_demand(source):
    convert(source, **SPLIT, sample="3,5")
    with pytest.raises(QuestionError, match=r"(?m)remove `faq-train-5` \(5 samples\)$"):
        convert(source, **SPLIT, sample="3")
    assert convert(source, **SPLIT, sample="3", replace=True).replaced == (Replaced("faq-train-5", 5, 0),)
