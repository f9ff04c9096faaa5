"""What is there already is not lost without a word."""

import json
from pathlib import Path

import pytest

from ftbridge.adapters.convert.earlier import Replaced
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.dataset_info.registry import read_entries, remove

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
def test_part_that_would_go_or_mix_rows_is_changed_only_with_replace(source, first, then, lost):
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
        (SPLIT, {**SPLIT, "to": ["xtuner", "alpaca", "messages", "sharegpt"]}, ()),
        (SPLIT, {**SPLIT, "sample": "3"}, ()),
        (SPLIT, {**SPLIT, "array": True}, ()),
        (SPLIT, {**SPLIT, "on_error": "skip"}, ()),
        ({}, SPLIT, (Replaced("faq-train", 20, 14),)),
        ({}, {"limit": 5, "system": "S"}, (Replaced("faq-train", 20, 5),)),
    ],
    ids=str,
)
def test_change_that_leaves_held_out_rows_alone_is_made_without_asking(source, first, then, replaced):
    convert(source, **first)
    assert convert(source, **then).replaced == replaced


def test_parts_given_by_the_source_keep_their_rows_without_asking(folder):
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
def test_dry_run_returns_the_same_result_and_writes_nothing(lines, options):
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
    assert "faq-train" in read_entries(Path("data"))


def test_a_dry_run_tells_what_would_be_lost_and_asks_nothing(source):
    convert(source, **SPLIT)
    known = state()
    done = convert(source, dry_run=True)
    assert done.replaced == (Replaced("faq-train", 14, 20), Replaced("faq-test", 6, 0))
    assert state() == known


def test_files_of_a_format_are_taken_away_only_on_demand(source):
    convert(source)
    with pytest.raises(QuestionError, match="remove the files for xtuner and alpaca and messages") as error:
        convert(source, to="sharegpt")
    assert error.value.answers["keep them"] == ["--to", "xtuner,alpaca,messages,sharegpt"]
    with pytest.raises(QuestionError) as error:
        convert(source, to=["alpaca", "sharegpt"])
    assert error.value.answers["keep them"] == ["--to", "xtuner,alpaca,messages,sharegpt"]
    every = ["xtuner", "alpaca", "messages", "sharegpt"]
    assert list(convert(source, to=every).parts[0].files) == every
    assert list(convert(source, to="sharegpt", replace=True).parts[0].files) == ["sharegpt"]


def test_a_subset_is_taken_away_only_on_demand(source):
    convert(source, **SPLIT, sample="3,5")
    with pytest.raises(QuestionError, match=r"(?m)remove `faq-train-5` \(5 samples\)$"):
        convert(source, **SPLIT, sample="3")
    assert convert(source, **SPLIT, sample="3", replace=True).replaced == (Replaced("faq-train-5", 5, 0),)


def test_a_file_that_somebody_has_edited_is_given_up_only_on_demand(source):
    first = convert(source, **SPLIT).parts[1].files["alpaca"]
    first.write_text("mended\n")
    known = state()
    for options in (SPLIT, {**SPLIT, "to": ["xtuner", "alpaca", "messages", "sharegpt"]}):
        with pytest.raises(QuestionError, match=r"(?s)faq-test\.alpaca\.jsonl` was changed since.*--replace") as error:
            convert(source, **options)
        assert error.value.answers["keep it, and make another dataset"] == ["--name", "faq-2"]
        assert state() == known
    assert convert(source, **SPLIT, dry_run=True).edited == (first,)
    assert state() == known
    assert convert(source, **SPLIT, replace=True).edited == (first,)
    assert convert(source, **SPLIT).edited == ()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", ["faq-train.alpaca.jsonl", "faq-test.xtuner.jsonl"])
def test_a_file_that_nobody_registered_is_left_alone(source, name, replace):
    Path("data").mkdir()
    Path("data", name).write_text("mine")
    known = state()
    for dry_run in (False, True):
        with pytest.raises(
            InputError, match=f"{name}` exists already and belongs to no dataset.*move it away.*`--name`"
        ):
            convert(source, **SPLIT, replace=replace, dry_run=dry_run)
    assert state() == known
    convert(source, **SPLIT, name="other")
    Path("data", name).unlink()
    Path("data", name).symlink_to("nowhere")
    with pytest.raises(InputError, match="exists already and belongs to no dataset"):
        convert(source, **SPLIT, replace=replace)


def test_folder_in_the_place_of_a_registered_file_is_left_alone(source):
    file = convert(source).parts[0].files["alpaca"]
    file.unlink()
    (file / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="exists already and belongs to no dataset"):
        convert(source, limit=3, replace=True)
    assert (file / "mine").is_dir()


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_of_another_dataset_is_left_alone(source, replace):
    Path("data").mkdir()
    Path("data", "dataset_info.json").write_text('{"theirs": {"file_name": "faq-train.alpaca.jsonl"}}')
    known = state()
    with pytest.raises(InputError, match=r"faq-train\.alpaca\.jsonl` belongs to the dataset `theirs`.*--name"):
        convert(source, replace=replace)
    assert state() == known


def test_foreign_entry_and_its_file_are_replaced_only_on_demand(source):
    Path("data").mkdir()
    Path("data", "faq-train.alpaca.jsonl").write_text("[]")
    Path("data", "dataset_info.json").write_text('{"faq-train": {"file_name": "faq-train.alpaca.jsonl"}}')
    with pytest.raises(InputError, match="--replace"):
        convert(source)
    convert(source, replace=True)
    assert Path("data", "faq-train.alpaca.jsonl").read_text() != "[]"


@pytest.mark.parametrize("name", ["faq.rejected.jsonl", "faq.rejected.xlsx"])
def test_rejected_rows_of_somebody_else_are_left_alone(lines, name):
    good, bad = ({"question": "q", "answer": "a"}, {"question": "q", "answer": ""})
    convert(lines(good))
    mine = Path("data", name)
    mine.write_text("mine")
    convert(lines(good), limit=1)  # writes no such file, and removes none
    assert convert(lines(good), limit=1, xlsx=True).rejected_workbook is None
    with pytest.raises(InputError, match=f"{name}` exists already and belongs to no dataset"):
        convert(lines(good, bad), on_error="skip", xlsx=True, replace=True)
    remove(Path("data"), ["faq"])
    assert {path.name for path in Path("data").iterdir() if path.suffix != ".lock"} == {"dataset_info.json", name}
    assert mine.read_text() == "mine"


def test_foreign_or_mended_rejected_workbook_is_not_overwritten(lines):
    source = lines({"question": "q", "answer": "a"}, {"question": "q", "answer": ""})
    convert(source, on_error="skip")
    mine = Path("data", "faq.rejected.xlsx")
    mine.write_text("mine")
    assert convert(source, on_error="skip").rejected_workbook is None
    with pytest.raises(InputError, match=r"faq\.rejected\.xlsx` exists already and belongs to no dataset"):
        convert(source, on_error="skip", xlsx=True)
    convert(source, on_error="skip", limit=2, replace=True)
    assert mine.read_text() == "mine"
    mine.unlink()
    workbook = convert(source, on_error="skip", limit=2, xlsx=True).rejected_workbook
    workbook.write_text("mended by hand")
    with pytest.raises(QuestionError, match=r"faq\.rejected\.xlsx` was changed since"):
        convert(source, on_error="skip")
    with pytest.raises(QuestionError, match=r"faq\.rejected\.xlsx` was changed since .*\n.*--yes"):
        remove(Path("data"), ["faq"])
    assert workbook.read_text() == "mended by hand"
    remove(Path("data"), ["faq"], edits=True)
    assert not workbook.exists()


@pytest.mark.parametrize("asked", [{"reading": {"delimiter": "\ud800"}}, {"split": 5}, {"odd": 1}], ids=ascii)
def test_unreadable_options_count_as_those_of_another_conversion(source, asked):
    """Half a character is no `ValidationError`, and was a traceback."""
    convert(source, **SPLIT)
    file = Path("data/dataset_info.json")
    known = json.loads(file.read_text())
    known["faq-test"]["ftbridge"]["options"]["asked"] = asked
    file.write_text(json.dumps(known))
    with pytest.raises(QuestionError, match="perhaps put other rows into `faq-test`"):
        convert(source, **SPLIT)
