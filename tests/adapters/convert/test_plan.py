"""What is settled before the first row is read."""

from pathlib import Path

import pytest

from ftbridge.adapters.convert.options import ConvertOptions, parse_split
from ftbridge.adapters.convert.plan import dataset_name, plan_conversion
from ftbridge.adapters.mapping.inference.infer import MappingOptions
from ftbridge.adapters.sources.locate import Origin, origins
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.core.errors import InputError, QuestionError, UsageError


def prepared(*paths, name="faq", **options):
    found = origins([str(path) for path in paths])
    return plan_conversion(found, dataset_name(found, name), Path("data"), ConvertOptions(**options), replace=False)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("faq", "faq"),
        ("医疗问答", "医疗问答"),
        ("my faq, v2 (final)", "my-faq-v2-final"),
        ("...", "dataset"),
        ("e\u0301", "é"),
    ],
)
def test_dataset_name_is_made_of_the_file_name(stem, name):
    assert dataset_name([Origin("x", Path(f"{stem}.xlsx"))], None) == name
    assert dataset_name([Origin("x", Path("x"))], name) == name


@pytest.mark.parametrize("name", ["", "a,b", "a b", "../a", "a/b", ".a", "-a", "a\n"])
def test_a_name_that_frameworks_cannot_take_is_refused(name):
    with pytest.raises(UsageError, match="not a valid dataset name"):
        dataset_name([Origin("x", Path("x"))], name)


def test_a_saved_folder_is_the_same_source_only_with_the_same_content(folder):
    saved = folder / "saved"
    saved.mkdir()
    (saved / "state.json").write_text("{}")
    before = digest(saved)
    assert digest(saved) == before
    (saved / "state.json").write_text("{ }")
    assert digest(saved) != before
    (saved / "odd\udcff.json").write_text("a name that is not UTF-8")
    assert digest(saved) != before


def test_a_preset_fills_what_is_not_asked_for(workbook):
    def settled(sheet="DrugQA", rows=(("Question", "Answer", "URL"), ("q", "a", "u")), **options):
        plan = prepared(workbook(**{sheet: rows}), **options)
        return plan.presets[0], plan.mappings[0]

    preset, choice = settled()
    assert (preset, choice.columns) == ("medqa", {"instruction": "Question", "output": "Answer"})
    assert (
        choice.shape
        == "Medication QA (MedInfo 2019) (recognised as preset medqa); it adds a system prompt (none: `--system ''`)"
    )
    assert choice.mapping.system.startswith("You are a professional, highly experienced doctor professor.")
    plain = settled(mapping=MappingOptions(system=""))[1]
    assert (plain.mapping.system, plain.shape) == ("", "Medication QA (MedInfo 2019) (recognised as preset medqa)")
    preset, mapped = settled(mapping=MappingOptions(map={"instruction": "C", "output": "A"}))
    assert (preset, mapped.columns["instruction"]) == ("medqa", "URL")
    assert mapped.mapping.system == choice.mapping.system
    assert mapped.shape.startswith(
        "columns as in `--map`, Medication QA (MedInfo 2019) (recognised as preset medqa); it adds"
    )
    assert settled(rows=[["question", "reply"], ["q", "a"]])[0] == ""
    assert settled(sheet="Other")[0] == ""
    preset, choice = settled(sheet="Other", preset="medqa")
    assert (preset, choice.shape) == ("medqa", "preset medqa")


def test_preset_columns_that_hold_other_values_are_no_preset(lines):
    row = {"text": "the match", "category": ["sports", "news"], "output": "sports"}
    assert prepared(lines(row)).presets == ("fudan-news",)
    assert prepared(lines(row | {"category": "which sport?"})).presets == ("",)


def test_a_plan_names_its_parts(lines):
    path = lines({"question": "q", "answer": "a"})
    whole = prepared(path)
    assert (whole.parts, whole.names) == (("train",), ["faq-train"])
    assert prepared(path, split=parse_split("7:3"), sample=(5,)).names == ["faq-train", "faq-test", "faq-train-5"]
    assert prepared(path, split=parse_split("validation=1")).names == ["faq-train", "faq-validation"]
    assert whole.sources == {"faq.jsonl": digest(path)}


def test_question_about_one_of_several_sources_is_answered_for_all_or_alone(folder):
    faq, other, alike = (folder / name for name in ("faq.csv", "other.csv", "alike.csv"))
    faq.write_text("question,answer\nwhy?,because\n", encoding="utf-8")
    other.write_text("they say,we say\nwho?,me\nand who else?,nobody\n", encoding="utf-8")
    alike.write_text("we say,they say\nthere,where?\nover there,where is it now?\n", encoding="utf-8")
    with pytest.raises(InputError, match="convert them one by one"):
        prepared(faq, other)
    with pytest.raises(QuestionError) as asked:
        prepared(other, alike)
    assert [*asked.value.answers.values()] == [
        ["--map", "instruction=they say", "--map", "output=we say"],
        ["--map", "instruction=we say", "--map", "output=they say"],
    ]
    chosen = MappingOptions(map={"instruction": "they say", "output": "we say"})
    assert [next(prepared(other, alike, mapping=chosen).first_samples(at)).turns[0].output for at in (0, 1)] == [
        "me",
        "there",
    ]


def test_sheets_that_differ_are_not_chosen_for_several_sources(folder, workbook):
    both = workbook(One=[["question", "answer"], ["q", "a"]], Two=[["prompt", "response"], ["q", "a"]])
    (folder / "faq.csv").write_text("question,answer\nwhy?,because\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"(?s)headers differ.*convert them one by one"):
        prepared(both, folder / "faq.csv")


def test_several_sources_are_asked_for_a_name(folder):
    found = [Origin(name, folder / name) for name in ("faq-1.csv", "faq-2.csv")]
    with pytest.raises(QuestionError) as asked:
        dataset_name(found, None)
    assert [*asked.value.answers.values()] == [["--name", "faq"], ["--name", "faq-1"]]
