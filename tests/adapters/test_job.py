"""What is settled before the first row is read."""

from pathlib import Path

import pytest

from ftbridge.adapters.job import Options, dataset_name, digest, prepare
from ftbridge.core.errors import UsageError


def source_of(path):
    return prepare(path, "faq", Path("data"), Options(), replace=False)


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
def test_a_name_is_made_of_the_files(stem, name):
    assert dataset_name(Path(f"{stem}.xlsx"), None) == name
    assert dataset_name(Path("x"), name) == name


@pytest.mark.parametrize("name", ["", "a,b", "a b", "../a", "a/b", ".a", "-a", "a\n"])
def test_a_name_that_frameworks_cannot_take_is_refused(name):
    with pytest.raises(UsageError, match="no dataset name"):
        dataset_name(Path("x"), name)


def test_a_saved_folder_is_the_same_source_only_with_the_same_content(folder):
    saved = folder / "saved"
    saved.mkdir()
    (saved / "state.json").write_text("{}")
    before = digest(saved)
    assert digest(saved) == before
    (saved / "state.json").write_text("{ }")
    assert digest(saved) != before


def test_a_preset_fills_what_is_not_asked_for(workbook):
    medqa = [["Question", "Answer", "URL"]]

    def settled(sheet="DrugQA", rows=medqa, **options):
        return prepare(workbook(**{sheet: rows}), "m", Path("data"), Options(**options), replace=False)

    job = settled()
    assert (job.preset, job.mapping.columns) == ("medqa", {"instruction": "Question", "output": "Answer"})
    assert job.mapping.system.startswith("You are a professional, highly experienced doctor professor.")
    assert job.mapping.letters == {"instruction": "A", "output": "B"}
    assert settled(system="").mapping.system == ""
    mapped = settled(map={"instruction": "C", "output": "A"})
    assert (mapped.preset, mapped.mapping.columns["instruction"]) == ("medqa", "URL")
    assert mapped.mapping.system == job.mapping.system
    assert settled(rows=[["question", "reply"]]).preset == ""
    assert settled(sheet="Other").preset == ""


def test_a_job_names_its_parts(lines):
    path = lines({"question": "q", "answer": "a"})
    whole = prepare(path, "faq", Path("data"), Options(), replace=False)
    assert (whole.parts, whole.names) == (("train",), ["faq-train"])
    assert prepare(path, "faq", Path("data"), Options(split="7:3"), replace=False).names == ["faq-train", "faq-test"]
    assert whole.sources == {"faq.jsonl": digest(path)}
