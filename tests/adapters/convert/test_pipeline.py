"""The whole way from a file to registered datasets."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ftbridge
from ftbridge.adapters.convert.earlier import Replaced
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.sources.text import jsonl
from ftbridge.adapters.targets import sample_file
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.core.records import Turn
from ftbridge.dataset_info.registry import find_converted, read_entries
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS

FAQ = [["question", "answer"], ["why?", "because"], ["how?", "so"], ["when?", 69.0]]
HERE = Path(__file__).parent


def samples(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def snapshot(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_a_workbook_becomes_both_formats(workbook):
    done = convert(workbook(Q=FAQ), system="be kind")
    (part,) = done.parts
    assert (part.name, part.samples, done.changed) == ("faq-train", 3, True)
    (table,) = done.tables
    assert (table.file, table.sheet) == ("faq.xlsx", "Q")
    assert table.columns == {"instruction": "question", "output": "answer"}
    assert [turn.output for sample in table.first for turn in sample.turns] == ["because", "so", "69"]
    assert (done.counts.read, done.counts.written) == (3, 3)
    assert samples(Path("data/faq-train.xtuner.jsonl"))[2] == {
        "conversation": [{"system": "be kind", "input": "when?", "output": "69"}]
    }
    assert samples(part.files["alpaca"])[2] == {
        "instruction": "when?",
        "input": "",
        "output": "69",
        "system": "be kind",
        "history": [],
    }
    name, entry = find_converted(Path("data"), "faq")
    assert (name, entry.samples, entry.system) == ("faq-train", 3, "be kind")
    state = Project.find().state()
    assert (state.dataset, state.dataset_dir) == ("faq-train", "data")
    assert ftbridge.convert is convert


def test_options_given_as_python_numbers_are_taken(lines):
    source = lines({"text": "good", "label": 1}, {"text": "bad", "label": 0})
    done = convert(source, map={"instruction": 1, "output": 2}, label_map={0: "no", 1: "yes"}, to="alpaca", sample=1)
    assert answers(done.parts[0]) == ["yes", "no"]
    assert list(done.parts[0].files) == ["alpaca"]
    assert convert(source, replace=True).tables[0].first[0].turns == (Turn("good", "", "1"),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"system": 5},
        {"instruction": "\udcff"},
        {"label_map": {"\udcff": "a"}},
        {"label_map": {0: 1}},
        {"header_row": "none"},
        {"seed": 1.5},
        {"max_characters": 0},
        {"to": ()},
    ],
    ids=str,
)
def test_an_option_of_a_wrong_type_is_refused_before_it_is_registered(lines, wrong):
    with pytest.raises(UsageError):
        convert(lines({"question": "q", "answer": "a"}), **wrong)
    assert not Path("data").exists()


def test_a_field_that_holds_no_classes_is_not_stratified_by(lines):
    source = lines(*({"question": str(number), "answer": "a"} for number in range(10_001)))
    with pytest.raises(UsageError, match="`--stratify question` finds more than 10,000 different values"):
        convert(source, split="7:3", stratify="question")
    assert convert(source, split="7:3", stratify="answer").counts.written == 10_001


def test_medqa_workbook_converts_to_the_tutorials_file_exactly(public_data):
    done = convert(public_data.folder / "medqa" / "MedQA2019.xlsx", name="medqa", array=True)
    expected = json.loads((public_data.folder / "medqa" / "MedQA2019-structured.jsonl").read_text("utf-8"))
    assert json.loads(done.parts[0].files["xtuner"].read_text("utf-8")) == expected
    assert (done.tables[0].preset, done.tables[0].sheet, done.counts.written) == (
        "medqa",
        "DrugQA",
        public_data.rows["medqa"],
    )
    by_letter = convert(
        public_data.folder / "medqa" / "MedQA2019.xlsx", name="letters", map={"instruction": "A", "output": "D"}
    )
    assert samples(by_letter.parts[0].files["xtuner"]) == expected


def test_alpaca_records_converted_to_alpaca_stay_the_same(public_data):
    done = convert(public_data.folder / "huanhuan" / "huanhuan-100.json")
    expected = json.loads((public_data.folder / "huanhuan" / "huanhuan-100.json").read_text("utf-8"))
    assert [
        {key: value for key, value in sample.items() if key in expected[0]}
        for sample in samples(done.parts[0].files["alpaca"])
    ] == expected


def test_ruozhiba_raw_and_formatted_give_the_same_conversations(public_data):
    done = convert(public_data.folder / "ruozhiba" / "ruozhiba_raw.jsonl")
    expected = samples(public_data.folder / "ruozhiba" / "ruozhiba_format.jsonl")
    assert [
        [turn["input"], turn["output"]]
        for sample in samples(done.parts[0].files["xtuner"])
        for turn in sample["conversation"]
    ] == [[message["content"] for message in sample["messages"]] for sample in expected]


FIELD = st.text().filter(lambda text: "\0" not in text)
FILLED = FIELD.filter(str.strip)
ALPACA = st.fixed_dictionaries(
    {
        "instruction": FILLED,
        "input": FIELD,
        "output": FILLED,
        "system": FIELD,
        "history": st.lists(st.tuples(FILLED, FILLED).map(list), max_size=2),
    }
)


@settings(max_examples=25)
@given(st.lists(ALPACA, min_size=1, max_size=5), st.booleans())
def test_alpaca_records_come_out_the_same_in_alpaca_and_xtuner(records, array):
    source = Path("alpaca.json")
    source.write_text(json.dumps(records), "utf-8")
    (part,) = convert(source, array=array, replace=True, to=["xtuner", "alpaca"]).parts
    both = {key: json.loads(path.read_text("utf-8")) if array else samples(path) for key, path in part.files.items()}
    assert both["alpaca"] == records
    for record, sample in zip(records, both["xtuner"], strict=True):
        first, *others = sample["conversation"]
        assert first["system"] == record["system"]
        assert not any(turn["system"] for turn in others)
        *history, last = [[turn["input"], turn["output"]] for turn in sample["conversation"]]
        assert history == record["history"]
        assert last[0] == record["instruction"] + ("\n" + record["input"] if record["input"] else "")


def answers(part, target="alpaca"):
    found = samples(part.files[target])
    return [each["output"] if target == "alpaca" else each["conversation"][-1]["output"] for each in found]


def test_seeded_split_puts_every_row_into_one_part(lines):
    source = lines(*({"question": f"q{at}", "answer": f"a{at}"} for at in range(10)))
    train, test = convert(source, split="7:3").parts
    assert [(train.name, train.samples), (test.name, test.samples)] == [("faq-train", 7), ("faq-test", 3)]
    assert (answers(train), answers(test)) == (["a1", "a2", "a4", "a5", "a6", "a8", "a9"], ["a0", "a3", "a7"])
    assert [answers(part, "xtuner") for part in (train, test)] == [answers(train), answers(test)]
    convert(source, split="7:3", shuffle=False, replace=True)
    assert answers(train) == [f"a{at}" for at in range(7)]
    parts = convert(source, split="8:1:1", replace=True).parts
    assert [(part.name, part.samples) for part in parts] == [("faq-train", 8), ("faq-validation", 1), ("faq-test", 1)]


def test_repeated_question_stays_in_one_part_unless_unshuffled(lines):
    source = lines(*({"question": f"q{at % 5}", "answer": f"a{at}"} for at in range(20)))
    done = convert(source, split="3:2")
    assert [part.samples for part in done.parts] == [12, 8]
    assert not {answer[1:] for answer in answers(done.parts[0])} & {answer[1:] for answer in answers(done.parts[1])}
    assert done.counts.shared == 0
    assert convert(source, split="3:2", shuffle=False, replace=True).counts.shared == 8


def test_subsets_are_nested_registered_and_hold_the_classes_in_proportion(lines):
    source = lines(*({"text": f"t{at}", "label": "rare" if at % 10 == 0 else "often"} for at in range(200)))
    done = convert(source, split="4:1", sample="10,50,100", stratify="output")
    assert [part.samples for part in done.parts] == [160, 40, 10, 50, 100]
    sets = [
        {sample["instruction"] + sample["input"] for sample in samples(part.files["alpaca"])} for part in done.parts
    ]
    assert sets[2] < sets[3] < sets[4] < sets[0]
    assert not sets[0] & sets[1]
    assert [answers(part).count("rare") for part in done.parts] == [16, 4, 1, 5, 10]
    assert find_converted(Path("data"), "faq-train-50")[1].samples == 50
    with pytest.raises(UsageError, match="asks for 161 of 160"):
        convert(source, split="4:1", sample=[161], replace=True)


def test_duplicates_are_left_out_and_counted(lines):
    rows = [("a", "b"), ("a", "b"), ("A ", "b"), ("a", "c")]
    source = lines(*({"question": question, "answer": answer} for question, answer in rows))
    assert answers(convert(source, dedup="exact").parts[0]) == ["b", "b", "c"]
    done = convert(source, dedup="normalized")
    assert answers(done.parts[0]) == ["b", "c"]
    assert (done.counts.read, done.counts.written, done.counts.duplicates) == (4, 2, 2)


def test_a_limit_takes_the_first_and_looks_at_no_more(lines):
    source = lines(*({"question": "q", "answer": answer} for answer in ("a", "b", "", "c")))
    done = convert(source, limit=2)
    assert answers(done.parts[0]) == ["a", "b"]
    assert (done.counts.read, done.counts.written, done.counts.rejected, done.counts.left_out) == (4, 2, 0, 2)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30),
    st.sampled_from([None, "exact"]),
    st.sampled_from([None, 5, 99]),
    st.sampled_from([None, "train=2,test=1", "1:1"]),
)
def test_counts_of_rows_add_up_to_those_read(rows, dedup, limit, split):
    with Path("faq.jsonl").open("w") as file:
        file.writelines(json.dumps({"question": f"q{q}", "answer": "a" * a}) + "\n" for q, a in rows)
    try:
        done = convert("faq.jsonl", dedup=dedup, limit=limit, split=split, on_error="skip", replace=True)
    except InputError:  # too few for the split, or none left
        return
    counts = done.counts
    assert counts.read == len(rows) == counts.written + counts.rejected + counts.duplicates + counts.left_out
    assert counts.written == sum(part.samples for part in done.parts)
    assert counts.rejected == (len(samples(done.rejected_file)) if done.rejected_file else 0)


def test_several_sources_with_a_name_make_one_dataset(lines, workbook):
    first = lines({"question": "q", "answer": "a"}, {"question": "q", "answer": ""}, name="one.jsonl")
    with pytest.raises(UsageError, match="--name"):
        convert(first, workbook(Q=FAQ))
    done = convert(first, workbook(Q=FAQ), name="both", max_rejected="50%")
    assert answers(done.parts[0]) == ["a", "because", "so", "69"]
    (rejected,) = samples(done.rejected_file)
    assert {key: rejected[key] for key in ("file", "sheet", "row", "column", "value", "reason", "more", "values")} == {
        "file": "one.jsonl",
        "sheet": "",
        "row": 2,
        "column": "answer",
        "value": "",
        "reason": "output is empty",
        "more": [],
        "values": {"question": "q", "answer": ""},
    }


@pytest.mark.parametrize(("allowed", "good"), [("1", True), ("0", False), ("34%", True), ("33%", False), (1, True)])
def test_max_rejected_as_count_or_share_bounds_the_rejected_rows(lines, allowed, good):
    source = lines(*({"question": "q", "answer": answer} for answer in ("a", "b", "")))
    if good:
        assert convert(source, max_rejected=allowed).counts.rejected == 1
    else:
        with pytest.raises(InputError, match=f"1 of 3 rows.*more than `--max-rejected {allowed}` allows"):
            convert(source, max_rejected=allowed)
        assert not Path("data").exists()


def test_answers_that_are_all_dates_are_written_as_a_json_array(lines):
    """From JSON lines, `datasets` would make times of them, and both frameworks want text."""
    done = convert(lines({"question": "q", "answer": "2024-01-01"}, {"question": "p", "answer": "2024-01-02 10:00"}))
    assert json.loads(done.parts[0].files["alpaca"].read_text("utf-8"))[1]["output"] == "2024-01-02 10:00"
    done = convert(lines({"question": "q", "answer": "2024-01-01"}, {"question": "p", "answer": "-"}), replace=True)
    assert answers(done.parts[0]) == ["2024-01-01", "-"]


@pytest.mark.parametrize("scheme", ["hf", "ms"])
def test_a_dataset_of_a_hub_is_converted_in_its_parts(server, scheme):
    root = server.add("owner/questions")
    for part, answer in (("train", "a"), ("test", "b")):
        (root / f"{part}.jsonl").write_text(json.dumps({"question": "q", "answer": answer}) + "\n")
    url = f"{scheme}://owner/questions"
    done = convert(url, name="faq")
    assert [(part.name, answers(part)) for part in done.parts] == [("faq-train", ["a"]), ("faq-test", ["b"])]
    assert done.counts.shared == 1
    assert not convert(url, name="faq").changed
    with pytest.raises(UsageError, match="parts of its own"):
        convert(url, split="7:3")
    assert [part.name for part in convert(f"{url}@test").parts] == ["questions-test-train"]


def test_a_part_of_the_sources_own_that_nothing_is_left_for_is_left_out_and_named(folder):
    source = folder / "faq"
    source.mkdir()
    for part in ("train", "test"):
        rows = [json.dumps({"question": f"{part} {number}", "answer": "a"}) for number in range(3)]
        (source / f"{part}.jsonl").write_text("\n".join(rows))
    done = convert(source, limit=2)
    assert [(part.name, part.samples) for part in done.parts] == [("faq-train", 2)]
    assert [table.notes for table in done.tables] == [
        (),
        ("no row is left for `faq-test` after removing duplicates or applying `--limit`, so it is not written",),
    ]
    assert not convert(source, limit=2).changed
    assert len(convert(source).parts) == 2


def test_generated_preset_gives_the_asked_number_of_rows(folder):
    done = convert("preset:self-cognition", set={"name": "小助", "author": "团队", "count": 20}, split="8:2")
    assert [(part.name, part.samples) for part in done.parts] == [
        ("self-cognition-train", 16),
        ("self-cognition-test", 4),
    ]
    assert done.tables[0].preset == "self-cognition"


def test_targets_that_are_asked_for_are_the_only_files(lines):
    source = lines({"question": "q", "answer": "a"})
    assert list(convert(source, to=["sharegpt"]).parts[0].files) == ["sharegpt"]
    assert list(convert(source, to=["xtuner"], replace=True).parts[0].files) == ["xtuner"]
    assert [path.name for path in Path("data").glob("faq*")] == ["faq-train.xtuner.jsonl"]
    with pytest.raises(UsageError, match="no target `csv`"):
        convert(source, to=["csv"])


def test_conversion_with_the_same_options_changes_nothing(workbook):
    source = workbook(Q=FAQ)
    convert(source, split="2:1")
    before = snapshot(Path("data"))
    again = convert(source, split="2:1")
    assert not again.changed
    assert [part.samples for part in again.parts] == [2, 1]
    assert again.counts.written == 3
    assert snapshot(Path("data")) == before


def test_a_folder_is_converted_again_without_what_ftbridge_wrote_into_it(lines):
    source = lines({"question": "why?", "answer": "so"}, {"question": "how?", "answer": ""}).parent
    first, again = (convert(source, name="faq", on_error="skip") for _ in range(2))
    assert (first.counts, first.changed, again.changed) == (again.counts, True, False)
    assert Path("data/faq.rejected.jsonl").is_file()
    with pytest.raises(InputError, match="holds only what ftbridge wrote"):
        convert("data", name="other")


def test_a_file_that_is_gone_is_written_again(workbook):
    source = workbook(Q=FAQ)
    file = convert(source).parts[0].files["xtuner"]
    content = file.read_bytes()
    file.unlink()
    assert convert(source).changed
    assert file.read_bytes() == content


def test_conversion_with_other_options_is_made_anew_and_drops_old_parts(workbook):
    source = workbook(Q=FAQ)
    convert(source, split="2:1", sample="1,2")
    done = convert(source, replace=True)
    assert done.changed
    assert done.replaced == (
        *(Replaced("faq-train", 2, 3), Replaced("faq-test", 1, 0)),
        *(Replaced("faq-train-1", 1, 0), Replaced("faq-train-2", 2, 0)),
    )
    assert list(read_entries(Path("data"))) == ["faq-train"]
    assert sorted(path.name for path in Path("data").glob("[!.]*")) == [
        "dataset_info.json",
        "faq-train.alpaca.jsonl",
        "faq-train.messages.jsonl",
        "faq-train.xtuner.jsonl",
    ]


def test_dataset_of_another_source_needs_replace(workbook, lines):
    convert(workbook(Q=FAQ))
    before = snapshot(Path("data"))
    other = lines({"question": "q", "answer": "a"})
    with pytest.raises(InputError, match=r"another source.*--replace"):
        convert(other)
    assert snapshot(Path("data")) == before
    assert convert(other, replace=True).parts[0].samples == 1


BAD = [
    ["question", "answer"],
    ["why?", "because"],
    ["how?", None],
    [None, None],
    ["#N/A", "so"],
    ["", ""],
    ["x", 1],
]


def test_wrong_rows_stop_the_conversion_and_nothing_is_written(workbook):
    with pytest.raises(InputError) as error:
        convert(workbook(DrugQA=BAD), name="medqa")
    text = str(error.value)
    assert "2 of 4 rows of faq.xlsx" in text
    assert [line.split()[0] for line in text.splitlines()[3:5]] == ["DrugQA!B3", "DrugQA!A5"]
    assert text.endswith("skip them with --on-error skip (or --max-rejected 2)")
    assert not Path("data").exists()
    assert not Project.find().state().dataset


def test_wrong_rows_are_refused_with_notes_of_what_may_be_behind(workbook):
    with pytest.raises(InputError, match=r"\n\nnote: other sheets are not read: `More`.*\nFix these rows"):
        convert(workbook(DrugQA=BAD, More=FAQ), name="medqa")


def test_wrong_rows_are_skipped_on_demand_and_kept(workbook):
    source = workbook(DrugQA=BAD)
    done = convert(source, name="medqa", on_error="skip")
    counts = done.counts
    assert (counts.read, counts.written, counts.rejected, counts.empty) == (4, 2, 2, 2)
    found = [(each["file"], each["sheet"], each["row"], each["value"]) for each in samples(done.rejected_file)]
    assert found == [("faq.xlsx", "DrugQA", 3, ""), ("faq.xlsx", "DrugQA", 5, "#N/A")]
    assert convert(source, name="medqa", on_error="skip").rejected_file == done.rejected_file
    convert(workbook(Q=FAQ), name="medqa", replace=True)
    assert not done.rejected_file.exists()


@pytest.mark.parametrize("record", [{"question": "q", "answer": ""}, {"question": "q", "answer": "\0"}])
def test_conversion_without_a_usable_row_writes_nothing(folder, record):
    (folder / "faq.jsonl").write_text(json.dumps(record))
    with pytest.raises(InputError, match="its only row cannot be used"):
        convert("faq.jsonl", on_error="skip")
    assert not Path("data").exists()


def test_table_of_headers_alone_is_refused(workbook):
    with pytest.raises(InputError, match="it holds no rows"):
        convert(workbook(Q=FAQ[:1]))


@pytest.mark.parametrize("name", ["insert_entries", "_link_in_place"])
def test_an_interrupt_at_the_end_leaves_a_whole_dataset(workbook, monkeypatch, name):
    source = workbook(Q=FAQ)
    convert(source)
    whole = {path.name: path.read_bytes() for path in Path("data").iterdir()}

    def crash(*args, **options):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ftbridge.dataset_info.journal.{name}", crash)
    folder = Path.cwd()
    with pytest.raises(KeyboardInterrupt):
        convert(source, split="2:1", replace=True)
    os.chdir(folder)
    if name == "insert_entries":  # nothing was decided yet
        assert {path.name: path.read_bytes() for path in Path("data").iterdir()} == whole
    assert convert(source, split="2:1", replace=True).changed == (name == "insert_entries")
    assert list(read_entries(Path("data"))) == ["faq-train", "faq-test"]
    assert not list(Path("data").glob(".*.part")) + list(Path("data").glob(".*.staged.*"))


def test_late_first_history_is_brought_forward_in_the_file(lines, monkeypatch):
    monkeypatch.setattr(sample_file, "TYPED_BYTES", 50)
    records = [{"instruction": f"q{at}", "output": "a", "history": []} for at in range(5)]
    records[3]["history"] = [["hi", "hello"]]
    (part,) = convert(lines(*records)).parts
    assert [sample["instruction"] for sample in samples(part.files["alpaca"])] == [
        "q3",
        "q0",
        "q1",
        "q2",
        "q4",
    ]
    assert len(samples(part.files["xtuner"])[0]["conversation"]) == 2
    (part,) = convert("faq.jsonl", array=True).parts
    assert json.loads(part.files["alpaca"].read_text("utf-8"))[0]["instruction"] == "q0"


def test_convert_without_source_or_format_is_refused_and_one_format_may_be_text(workbook):
    path = workbook(Q=FAQ)
    for sources, to in (((), "xtuner"), ((path,), ()), ((path,), "")):
        with pytest.raises(UsageError, match="at least one source, and one format"):
            convert(*sources, to=to)
    assert list(convert(path, to="xtuner").parts[0].files) == ["xtuner"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "7"}, "`--split`"),
        ({"on_error": "go"}, "`--on-error`"),
        ({"dedup": "all"}, "`--dedup` takes `exact` or `normalized`; got `all`"),
        ({"max_rejected": "many"}, "`--max-rejected`"),
        ({"seed": -1}, "`--seed`"),
        ({"limit": 0}, "`--limit`"),
        ({"max_characters": 0}, "`--max-characters`"),
        ({"sample": "x"}, "`--sample`"),
        ({"map": {"x": "A"}}, "unknown field `x`"),
    ],
)
def test_wrong_options_are_refused(workbook, options, message):
    with pytest.raises(UsageError, match=message):
        convert(workbook(Q=FAQ), **options)


def test_a_dataset_folder_elsewhere_is_remembered_as_it_is(workbook, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = convert(workbook(Q=FAQ), dataset_dir=elsewhere)
    assert done.parts[0].files["alpaca"].parent == elsewhere
    assert Project.find().state().dataset_dir == str(elsewhere)


@pytest.mark.framework
@pytest.mark.parametrize("array", [False, True])
def test_converted_files_load_in_both_frameworks(lines, folder, training_python, array):
    filler = {"instruction": "问" * 500, "input": "", "output": "答" * 500, "system": ""}
    records = [filler | {"history": []} for _ in range(4000)]
    records.append({"instruction": "q", "input": "i", "output": "a", "system": "s", "history": [["hi", "hello"]]})
    convert(lines(*records), array=array)
    output = folder / "loaded.json"
    subprocess.run(
        [training_python, HERE / "frameworks_load.py", "data", "faq-train", output],
        env=os.environ | CHILD_ENV | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(SCRIPTS)},
        check=True,
    )
    loaded = json.loads(output.read_text("utf-8"))
    at = -1 if array else 0  # 12 MB of samples without a history would have come first
    assert [len(each) for each in loaded.values()] == [4001] * 3
    assert loaded["llamafactory"][at]["_system"] == "s"
    assert [message["content"] for message in loaded["llamafactory"][at]["_prompt"]] == [
        "hi",
        "hello",
        "q\ni",
    ]
    assert [message["content"] for message in loaded["llamafactory"][at]["_response"]] == ["a"]
    assert loaded["xtuner"][at]["conversation"] == [
        {"system": "s", "input": "hi", "output": "hello"},
        {"system": "", "input": "q\ni", "output": "a"},
    ]
    first, second = loaded["templated"][at]["conversation"]
    assert first["input"].startswith("<|im_start|>system\ns<|im_end|>")
    assert "system" not in second["input"]


def test_a_source_that_changes_while_it_is_read_is_refused(lines, monkeypatch):
    source = lines({"question": "q", "answer": "a"})

    def change(rows):
        source.write_text(source.read_text() + "\n")

    with pytest.raises(InputError, match=r"faq\.jsonl has changed while it was read"):
        convert(source, callback=change)
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("faq.jsonl", '{"question": "q", "answer": "a"}\nnot json \u4e2d\u6587\n', "not json \u4e2d\u6587"),
        ("faq.csv", 'question,answer\nwhy?,"because, so"\nwho?,"me\n', 'who?,"me'),
    ],
)
def test_text_of_a_broken_line_is_kept_in_the_rejected_file(folder, name, text, kept):
    (folder / name).write_text(text, encoding="utf-8")
    done = convert(folder / name, on_error="skip")
    (record,) = map(json.loads, done.rejected_file.read_text("utf-8").splitlines())
    assert record["values"] == {"": kept}


def talk(*answers, **more):
    """Return a row of messages; an answer is a text, or the keys of its message."""
    said = []
    for at, answer in enumerate(answers):
        beside = answer if isinstance(answer, dict) else {"content": answer}
        said += [{"role": "user", "content": f"q{at}"}, {"role": "assistant", **beside}]
    return {"messages": said, **more}


OFF = {"content": "off", "loss": 0}
TOOLS = {"tools": [{"name": "f"}]}


@pytest.mark.parametrize("split", [None, "1:1"])
@pytest.mark.parametrize("array", [False, True])
def test_a_format_leaves_out_the_samples_that_it_cannot_hold_and_says_how_many(lines, array, split):
    rows = [talk("a"), talk(OFF, "b"), talk("c", **TOOLS), talk({"content": "d", "thinking": "hm"}), talk("e", OFF)]
    for at, row in enumerate(rows):
        row["messages"][0]["content"] = f"row {at}"
    done = convert(lines(*rows), array=array, split=split, seed=7)
    parts = [read_entries(Path("data"))[part.name] for part in done.parts]
    held = {"messages": [], "xtuner": [], "alpaca": []}
    for part, entry in zip(done.parts, parts, strict=True):
        for target, file in part.files.items():
            text = file.read_text("utf-8")
            one_array = array and target != "messages"
            found = json.loads(text) if one_array else [json.loads(line) for line in text.splitlines()]
            held[target] += found
            assert len(found) == part.samples - entry["ftbridge"]["options"]["not_held"].get(target, 0)
    assert {target: len(found) for target, found in held.items()} == {"messages": 5, "xtuner": 4, "alpaca": 2}
    assert {tuple(turn) for sample in held["xtuner"] for turn in sample["conversation"]} == {
        ("system", "input", "output", "output_with_loss")
    }
    learned = {turn["output"]: turn["output_with_loss"] for each in held["xtuner"] for turn in each["conversation"]}
    assert learned == {"a": True, "off": False, "b": True, "<think>\nhm\n</think>\n\nd": True, "e": True}
    assert [note.split(" (")[0] for note in done.notes if "not in the file" in note] == [
        "2 samples are not in the file for alpaca, which cannot hold answers that are not learned",
        "1 sample is not in the file for xtuner, which cannot hold tools",
        "1 sample is not in the file for alpaca, which cannot hold tools",
    ]


def test_a_file_without_a_sample_is_not_written(lines):
    source = lines(talk("a", **TOOLS), talk("b", **TOOLS))
    for options in ({}, {"dry_run": True}):
        (part,) = convert(source, replace=True, **options).parts
        assert (part.samples, list(part.files)) == (2, ["messages"])
    assert sorted(path.name for path in Path("data").glob("[!.]*")) == ["dataset_info.json", "faq-train.messages.jsonl"]
    assert read_entries(Path("data"))["faq-train"]["formatting"] == "messages"
    assert not convert(source).changed
    with pytest.raises(InputError, match=r"no sample of `faq-train` can be written for xtuner, .*add messages to"):
        convert(source, to="xtuner", replace=True)


def test_samples_that_differ_in_what_is_learned_are_no_duplicates(lines):
    same = [talk("a", "b"), talk("a", {"content": "b", "loss": 0}), talk("a", {"content": "b", "thought": "hm"})]
    same.append(talk("a", "b", **TOOLS))
    done = convert(lines(*same, *same), dedup="exact")
    assert (done.counts.written, done.counts.duplicates) == (4, 4)


def test_a_flag_in_a_late_piece_reaches_all_samples(monkeypatch, lines):
    monkeypatch.setattr(jsonl, "BLOCK", 1000)
    rows = [talk(f"a{at}") for at in range(300)]
    (part,) = convert(lines(*rows, talk("b", OFF))).parts
    found = samples(part.files["xtuner"])
    assert len(found) == 301
    assert {turn["output_with_loss"] for each in found[:300] for turn in each["conversation"]} == {True}
    assert found[-1]["conversation"][1]["output_with_loss"] is False
    (part,) = convert(lines(*rows), replace=True).parts
    assert "output_with_loss" not in part.files["xtuner"].read_text()
