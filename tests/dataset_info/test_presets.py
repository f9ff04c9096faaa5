"""What is known about well-known datasets: complete, and true of their samples and of the real files."""

import csv
import json
import re

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from ftbridge.adapters.values import as_text
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.parsing.json_yaml import parse
from ftbridge.dataset_info.presets import Preset, detect_preset, load_preset, presets

FIELDS = ("system", "instruction", "input", "output", "history")
NAMES = [
    *("adgen", "chnsenticorp", "fudan-news", "huanhuan", "medqa", "msra-ner", "patents", "ruozhiba"),
    *("self-cognition", "twitter-complaints"),
]


def alpaca(known, row):
    """Return a row as Alpaca, read as the preset says."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)

    def field(name):
        if template := getattr(known, name):
            return environment.from_string(template).render(row)
        return as_text(row[known.columns[name]]) if name in known.columns else ""

    answer = field("output")
    answer = known.labels[answer] if known.labels else answer
    return {"instruction": field("instruction"), "input": field("input"), "output": answer}


def test_presets_are_all_found_in_order():
    assert list(presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_preset_has_a_title_licence_source_and_model(name):
    known = load_preset(name)
    assert known.name == name
    assert known.title.isascii()  # so that the list of presets is aligned
    assert known.licence
    assert known.source.startswith("https://") or known.settings
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", known.model)
    assert re.fullmatch(r"((hf|ms)://[\w.-]+/[\w.-]+(:\w+)?(@\w+)?)?", known.hub)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_fits_its_sample(name):
    known = load_preset(name)
    assert set(known.columns) <= set(FIELDS)
    assert set(known.columns.values()) <= set(known.sample)
    assert not [field for field in known.columns if getattr(known, field, "")]  # never a column and a text
    assert not known.detect or set(known.detect) == set(known.sample)
    read = alpaca(known, known.sample)
    assert read["instruction"].strip()
    assert read["output"].strip()


def test_presets_are_told_by_different_sheets_and_columns():
    told = [known.sheet for known in presets().values() if known.sheet]
    told += [frozenset(known.detect) for known in presets().values() if known.detect]
    assert len(told) == len(set(told))


def test_preset_is_told_by_sheet_before_columns():
    assert detect_preset(["Notes", "DrugQA"]) == load_preset("medqa")
    assert detect_preset([""], ["category", "output", "text"]) == load_preset("fudan-news")
    assert detect_preset(["DrugQA"], ["category", "output", "text"]) == load_preset("medqa")


@pytest.mark.parametrize("columns", [(), ("text", "label"), ("text", "category", "output", "id")])
def test_columns_other_than_a_presets_own_tell_no_preset(columns):
    assert detect_preset(["Sheet1", ""], columns) is None


def test_the_closest_preset_is_named():
    with pytest.raises(UsageError, match="did you mean `medqa`"):
        load_preset("medqa2")


def test_an_unknown_key_is_refused():
    values = {"title": "", "source": "", "licence": "", "sample": {}, "model": "", "colums": {}}
    with pytest.raises(InputError, match="unknown key `colums`; did you mean `columns`"):
        parse(Preset, {"name": "x", **values}, "the preset `x`")


def test_a_list_is_written_as_the_tutorial_wrote_it():
    read = alpaca(load_preset("fudan-news"), {"text": "乒乓", "category": ["Military", "Sports"], "output": "Sports"})
    assert read == {
        "instruction": "你是一个文本分类领域的专家，你会接收到一段文本和几个潜在的分类选项，请输出文本内容的正确类型",
        "input": "文本:乒乓,类型选型:['Military', 'Sports']",
        "output": "Sports",
    }


def test_a_label_may_be_a_number_or_its_text():
    known = load_preset("patents")
    numbers = {text for value, text in known.labels.items() if value.isdecimal()}
    assert len(numbers) == 9
    assert all(f'"{text}"' in known.instruction for text in numbers)
    for label in (3, 3.0, "3", "Textiles; Paper"):
        assert alpaca(known, {"text": "a loom", "label": label}) == {
            "instruction": known.instruction,
            "input": "Classify the document:\na loom",
            "output": "Textiles; Paper",
        }


def test_unknown_label_of_a_preset_is_refused():
    with pytest.raises(KeyError):
        alpaca(load_preset("twitter-complaints"), {"Tweet text": "hm", "Label": "Unlabeled", "ID": 50})


def test_patents_preset_gives_the_published_samples(public_data):
    row = json.loads((public_data.folder / "patents" / "source.jsonl").read_text("utf-8"))
    expected = json.loads((public_data.folder / "patents" / "expected_alpaca.json").read_text("utf-8"))
    assert [alpaca(load_preset("patents"), row)] == expected


def test_alpaca_records_of_a_preset_stay_as_they_are(public_data):
    rows = json.loads((public_data.folder / "huanhuan" / "huanhuan-100.json").read_text("utf-8"))
    assert [alpaca(load_preset("huanhuan"), row) for row in rows] == rows


@pytest.mark.parametrize(
    ("name", "file"),
    [("fudan-news", "fudan_news/text_category_output.jsonl"), ("ruozhiba", "ruozhiba/ruozhiba_raw.jsonl")],
)
def test_real_records_have_the_shape_of_the_sample(public_data, name, file):
    known = load_preset(name)
    for line in (public_data.folder / file).read_text("utf-8").splitlines():
        row = json.loads(line)
        assert {key: type(value) for key, value in row.items()} == {
            key: type(value) for key, value in known.sample.items()
        }
        assert alpaca(known, row)["output"] == row["output"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("twitter-complaints", "raft/train.csv"), ("chnsenticorp", "chnsenticorp/ChnSentiCorp_htl_all.csv")],
)
def test_preset_labels_cover_all_rows_of_the_dataset(public_data, name, file):
    known = load_preset(name)
    with (public_data.folder / file).open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert set(rows[0]) == set(known.sample)
    assert {known.labels[row[known.columns["output"]]] for row in rows} == set(known.labels.values())
