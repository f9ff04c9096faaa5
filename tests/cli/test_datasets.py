"""`ftbridge datasets`."""

import json

import pytest
from click.testing import CliRunner

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.dataset_info.registry import FILE

SAID = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Stand in a project with a dataset of ours and two of somebody else, one of them broken."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    entries = {
        "chats": {"file_name": "chats.json", "formatting": "sharegpt"},
        "broken": {"file_name": "nowhere.json", "format": "sharegpt"},
        "hub": {"hf_hub_url": "owner/name"},
    }
    (tmp_path / "data" / FILE).write_text(json.dumps(entries, indent=2))
    (tmp_path / "data" / "chats.json").write_text(json.dumps([{"conversations": SAID}]))
    (tmp_path / "faq.jsonl").write_text("".join(f'{{"question": "q{at}", "answer": "a{at}"}}\n' for at in range(4)))
    ftbridge.convert("faq.jsonl", split="3:1", system="be kind")
    return tmp_path


def datasets(*arguments, **options):
    done = CliRunner().invoke(cli, ["datasets", *arguments], **options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_list_has_a_line_for_each():
    lines = datasets("list").splitlines()
    assert [line.split()[0] for line in lines] == ["name", "chats", "broken", "hub", "faq-train", "faq-test"]
    assert lines[4].split()[:6] == ["faq-train", "3", "alpaca,", "messages,", "xtuner", "faq.jsonl"]
    assert [each["samples"] for each in json.loads(datasets("list", "--json"))] == [None, None, None, 3, 1]


@pytest.mark.parametrize("command", ["list", "check"])
def test_empty_dataset_folder_is_named(command, tmp_path):
    said = datasets(command, "--dataset-dir", str(tmp_path / "new"))
    made = f"`ftbridge convert FILE --dataset-dir {tmp_path / 'new'}`"
    assert said == f"there is no dataset in {tmp_path / 'new'} yet; make one with {made}\n"
    assert not (tmp_path / "new").exists()


def test_show_gives_the_entry_and_the_first_samples():
    output = datasets("show", "faq", "-n", "2")
    assert output.startswith("faq-train, in ")
    for fact in ("samples        3", "source         faq.jsonl", "columns        instruction: question, output: answer",
                 "system prompt  be kind", "--split        3:1", "parts          faq-train, faq-test"):  # fmt: skip
        assert f"  {fact}\n" in output
    for dump in ("{", "None", "[]", "sha256"):
        assert dump not in output
    assert output.count("system: be kind\nuser: q") == 2
    assert "user: hi\nassistant: hello" in datasets("show", "chats")
    assert json.loads(datasets("show", "chats", "--json"))["samples"][0]["turns"][0]["output"] == "hello"
    assert "assistant" not in datasets("show", "hub")


def test_show_and_check_say_what_a_file_does_not_hold(project):
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    rows = ({"messages": said, "tools": [{"name": "f"}]}, {"messages": [*said, *said]})
    (project / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ftbridge.convert("calls.jsonl")
    output = datasets("show", "calls")
    for target in ("xtuner", "alpaca"):
        note = f"note: 1 sample is not in the file for {target}, which cannot hold tools\n"
        assert note in output
        assert f"  {note}" in datasets("check", "calls")
    assert '\ncalls-train.messages.jsonl line 1\nsystem: [{"type":"function"' in output
    assert len(json.loads(datasets("show", "calls", "--json"))["notes"]) == 2


def test_show_gives_the_entry_also_where_its_samples_cannot_be_read():
    done = CliRunner().invoke(cli, ["datasets", "show", "broken"])
    assert "  file_name  nowhere.json\n" in done.stdout
    assert isinstance(done.exception, InputError)


def test_show_prints_an_entry_with_half_a_surrogate_pair(project):
    (project / "data" / FILE).write_text('{"odd": {"hf_hub_url": "\\ud800"}}')
    assert "  hf_hub_url  \\ud800\n" in datasets("show", "odd")


def test_check_of_what_loads_ends_well():
    assert datasets("check", "faq", "chats").splitlines() == [
        "faq-train",
        "  LLaMA-Factory:  loads",
        "  XTuner:         loads",
        "faq-test",
        "  LLaMA-Factory:  loads",
        "  XTuner:         loads",
        "chats (not made by ftbridge)",
        "  LLaMA-Factory:  loads",
        "  XTuner:         loads",
    ]
    assert "unknown: its data is at `owner/name`" in datasets("check", "hub")


def test_check_of_what_does_not_load_says_why_and_ends_with_3():
    done = CliRunner().invoke(cli, ["datasets", "check"])
    assert "  LLaMA-Factory:  does not load: its file is missing" in done.output
    assert "note: LLaMA-Factory ignores the key `format`; did you mean `formatting`?" in done.output
    with pytest.raises(InputError, match="1 of 5 datasets cannot be loaded completely"):
        raise done.exception
    assert done.exception.exit_code == 3
    verdicts = json.loads(CliRunner().invoke(cli, ["datasets", "check", "--json"]).output)
    assert [each["backends"]["xtuner"]["loads"] for each in verdicts] == ["yes", "no", "unknown", "yes", "yes"]


def test_check_notes_edited_and_missing_files_of_ours(project):
    file = project / "data" / "faq-train.alpaca.jsonl"
    file.write_text(
        file.read_text() + '{"instruction": "new", "input": "", "output": "so", "system": "", "history": []}\n'
    )
    assert (
        "note: `faq-train.alpaca.jsonl` has been changed since ftbridge wrote it: it holds 4 samples, and 3 were "
        "converted; an edit there does not reach `faq-train.xtuner.jsonl` and "
        "`faq-train.messages.jsonl`\n"
    ) in datasets("check", "faq")
    file.write_text(
        file.read_text() + '{"instruction": "new", "input": "", "output": 5, "system": "", "history": []}\n'
    )
    output = CliRunner().invoke(cli, ["datasets", "check", "faq-train"]).output
    assert (
        "LLaMA-Factory:  does not load: records that do not fit: 1; the first, faq-train.alpaca.jsonl line 5: has a "
        in output
    )
    assert "XTuner:         loads" in output
    (project / "data" / "faq-train.xtuner.jsonl").unlink()
    output = CliRunner().invoke(cli, ["datasets", "check", "faq-train"]).output
    assert "XTuner:         does not load: its file is missing" in output


def test_remove_shows_what_goes_and_asks(project):
    before = sorted(project.rglob("*"))
    done = CliRunner().invoke(cli, ["datasets", "remove", "faq-test", "chats"], input="n\n")
    assert done.stderr.splitlines()[:5] == [
        "the dataset faq-test",
        "the dataset chats",
        "data/faq-test.alpaca.jsonl",
        "data/faq-test.messages.jsonl",
        "data/faq-test.xtuner.jsonl",
    ]
    assert "remove these? (datasets: 2, files: 3) [y/N]: " in done.stderr
    assert done.stdout == ""
    assert isinstance(done.exception, UsageError)
    assert sorted(project.rglob("*")) == before
    assert "removed the dataset faq-test" in datasets("remove", "faq-test", input="y\n")
    assert "faq-test" not in datasets("list")


def test_remove_names_what_was_edited_and_takes_it_after_a_yes(project):
    file = project / "data" / "faq-test.alpaca.jsonl"
    file.write_text(file.read_text() + "\n")
    done = CliRunner().invoke(cli, ["datasets", "remove", "faq"])
    assert "data/faq-test.alpaca.jsonl, which was changed since it was converted\n" in done.stderr
    assert isinstance(done.exception, UsageError)
    assert file.exists()
    assert "removed data/faq-test.alpaca.jsonl" in datasets("remove", "faq-test", input="y\n")
    edited = project / "data" / "faq-train.alpaca.jsonl"
    edited.write_text("{}\n")
    assert "removed data/faq-train.alpaca.jsonl" in datasets("remove", "faq", "--yes")


def test_file_edited_after_the_question_is_asked_about_again(project, monkeypatch):
    file = project / "data" / "faq-test.alpaca.jsonl"
    monkeypatch.setattr("click.prompt", lambda *_, **__: file.write_text("mine\n"))
    question = CliRunner().invoke(cli, ["datasets", "remove", "faq"]).exception
    assert isinstance(question, QuestionError)
    assert f"`{file}` was changed since it was converted" in question.reason
    assert file.read_text() == "mine\n"


def test_remove_deletes_our_files_and_leaves_foreign_ones(project):
    output = datasets("remove", "faq", "chats", "--yes")
    assert output.splitlines()[:3] == [f"removed the dataset {name}" for name in ("faq-train", "faq-test", "chats")]
    assert len(output.splitlines()) == 3 + 6
    assert {path.name for path in (project / "data").glob("[!.]*")} == {FILE, "chats.json"}
    assert json.loads(datasets("remove", "hub", "--json", input="y\n"))["entries"] == ["hub"]


@pytest.mark.parametrize("command", ["show", "check", "remove"])
def test_an_unknown_name_gets_the_closest(command):
    done = CliRunner().invoke(cli, ["datasets", command, "faq-trian"])
    with pytest.raises(InputError, match="did you mean `faq-train`"):
        raise done.exception


def test_datasets_list_uses_the_folder_that_train_takes(project):
    ftbridge.convert("faq.jsonl", dataset_dir="elsewhere")
    assert [each["name"] for each in json.loads(datasets("list", "--json"))] == ["faq-train"]
    (project / "ftbridge.yaml").write_text("dataset_dir: data\n")
    assert len(json.loads(datasets("list", "--json"))) == 5
