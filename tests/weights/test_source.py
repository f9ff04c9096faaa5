"""Sources: a run or a folder, and what either says of itself."""

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.records import Launch
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.runs.record import Attempt, Run
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.templates import families
from ftbridge.weights.card import ModelCard, askable, card_in, card_of, load_card, made
from ftbridge.weights.source import checkpoint_of, resolve, target_of

from ..builders.torch_files import save_pickled  # noqa: TID252


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in a project with a base model and interpreters that are never started."""
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2"}')
    return tmp_path


def run(name, status="succeeded", backend="xtuner", family="qwen2"):
    """Save and return a run."""
    return Run(
        id=name,
        folder=str(Path("runs", name).absolute()),
        status=status,
        spec=TrainSpec(backend=backend, model="base", dataset="faq", trust_remote_code=True),
        launch=Launch(("python",), {}, "/", {}),
        family=family,
        model=str(Path("base").absolute()),
        system="说中文",
        samples=1,
        steps=1,
        versions={},
        datasets={},
        attempts=(Attempt(datetime(2026, 1, 2, tzinfo=UTC)),),
        pid=os.getpid(),
    ).save()


def card(base="base", **values):
    template = msgspec.json.decode(msgspec.json.encode(families.get("qwen2").cell("llamafactory").prompt))
    facts = {"family": "qwen2", "backend": "llamafactory", "template": template, "system": "s", "thinking": "none"}
    return ModelCard(base=str(Path(base).absolute()), **facts | values)


def test_without_a_name_it_is_the_last_run_that_succeeded(capsys):
    good = run("1")
    assert resolve(None).run == good
    assert capsys.readouterr().err == "using 1, the last run that succeeded\n"
    run("2", "failed")
    assert resolve(None).run == good
    assert capsys.readouterr().err == "using 1, the last run that succeeded; the newer 2 failed\n"


def test_a_run_is_named_by_its_id_or_its_folder(folder):
    one = run("1")
    assert [resolve(name).run for name in ("1", "runs/1", str(folder / "runs" / "1"))] == [one] * 3
    assert resolve("1").folder == folder / "runs" / "1"


def test_a_folder_is_a_source_without_a_run(folder):
    assert (resolve("base").folder, resolve("base").run) == (folder / "base", None)
    with pytest.raises(InputError, match="no run or folder `bsae`"):
        resolve("bsae")


def test_the_card_of_a_run_says_how_it_was_trained(folder):
    run("1", backend="llamafactory")
    found = card_of(resolve("1"))
    prompt = families.get("qwen2").cell("llamafactory").prompt
    assert found.prompt == prompt
    assert (found.base, found.family, found.backend) == (str(folder / "base"), "qwen2", "llamafactory")
    assert (found.system, found.run) == ("说中文", "1")
    assert card_of(resolve("1"), "other").base == str(folder / "other")


@pytest.mark.parametrize("family", families.load())
def test_a_card_reads_back_as_it_was_saved(folder, family):
    run("1", family=family)
    found = card_of(resolve("1"))
    found.save(folder)
    assert msgspec.json.encode(load_card(folder)) == msgspec.json.encode(found)
    assert load_card(folder).prompt == families.get(family).cell("xtuner").prompt


def test_the_card_of_a_folder_is_believed_unless_a_base_is_named(folder):
    (folder / "mine").mkdir()
    card().save(folder / "mine")
    assert card_of(resolve("mine")) == card()
    assert card_of(resolve("mine"), "other") == msgspec.structs.replace(card(), base=str(folder / "other"))
    assert card_of(resolve("mine"), template="qwen3").family == "qwen3"


def test_a_card_has_no_say_on_code_and_an_older_one_that_had_is_read(folder):
    card(template=msgspec.to_builtins(families.get("qwen2").cell("xtuner").prompt)).save(folder)
    older = json.loads((folder / CARD).read_text()) | {"trust_remote_code": True}
    (folder / CARD).write_text(json.dumps(older))
    known = load_card(folder)
    assert known.prompt == families.get("qwen2").cell("xtuner").prompt
    assert "trust" not in msgspec.json.encode(known).decode()


@pytest.mark.parametrize(
    "changed",
    [
        {"INSTRUCTION": "{input.__class__}"},
        {"INSTRUCTION": "{input[0]}"},
        {"INSTRUCTION": "{input:>9999999999}"},
        {"INSTRUCTION": ["{input!r}"]},
        {"INSTRUCTION": "{0}"},
        {"INSTRUCTION": "{input"},
        {"SYSTEM": "{input}"},
        {"ANSWER": "{output}{input}"},
        {"SUFFIX": "{system}"},
        {"BOS": ["{}"]},
        {"SEP": "\0cycler.__init__\0"},
    ],
)
def test_a_prompt_that_would_be_obeyed_is_a_damaged_card(folder, changed):
    template = msgspec.to_builtins(families.get("qwen2").cell("xtuner").prompt) | changed
    card(template=template).save(folder)
    with pytest.raises(InputError, match=r"ftbridge.json` is damaged"):
        load_card(folder)


def test_a_damaged_card_is_one_sentence(folder):
    (folder / "base" / CARD).write_text("{}")
    with pytest.raises(InputError, match=r"base/ftbridge.json` is damaged"):
        card_of(resolve("base"))


def test_an_adapter_of_somebody_else_names_its_base(folder):
    adapter = folder / "adapter"
    adapter.mkdir()
    with pytest.raises(InputError, match=r"adapter` does not say which base.*--model"):
        card_of(resolve("adapter"))
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder / "base")}))
    assert card_of(resolve("adapter")).base == str(folder / "base")
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone"}')
    with pytest.raises(InputError, match=r"`/gone`.*`--model` names another"):
        card_of(resolve("adapter"))


@pytest.mark.parametrize("old_stays", [False, True])
def test_a_project_that_was_moved_or_copied_has_its_base_with_it(folder, monkeypatch, old_stays):
    run("1")
    old, new = folder / "old", folder / "new"
    old.mkdir()
    for name in ("base", "runs", "ftbridge.yaml"):
        (folder / name).rename(old / name)
    file = old / "runs" / "1" / "run.json"
    file.write_text(file.read_text().replace(str(folder / "base"), str(old / "base")))
    (old / "runs" / "1" / "adapter").mkdir()
    msgspec.structs.replace(card_of(resolve(old / "runs" / "1")), base=str(old / "base")).save(old / "runs/1/adapter")
    shutil.copytree(old, new)
    assert card_of(resolve(old / "runs" / "1")).base == str(old / "base")
    if not old_stays:
        shutil.rmtree(old)
    monkeypatch.chdir(new)
    assert card_of(resolve("1")).base == str(new / "base")
    assert card_of(resolve("runs/1/adapter")).base == str(new / "base")
    assert card_of(resolve("1"), str(folder / "other")).base == str(folder / "other")
    shutil.rmtree(new / "base")
    if old_stays:
        assert card_of(resolve("1")).base == str(old / "base")


def test_a_model_is_its_own_base(folder):
    assert card_of(resolve("base")).base == str(folder / "base")


def test_a_family_without_a_template_on_the_backend_is_wrong_usage():
    run("1", backend="llamafactory", family="internlm")
    with pytest.raises(UsageError, match="--backend xtuner"):
        card_of(resolve("1"))


def test_the_checkpoint_of_a_folder_is_the_folder_and_a_run_needs_one(folder):
    assert checkpoint_of(resolve("base")) == folder / "base"
    run("1", "failed")
    with pytest.raises(InputError, match=r"the run `1` \(failed\) has no readable checkpoint"):
        checkpoint_of(resolve("1"))


@pytest.fixture
def saved(folder):
    """Make a run with two checkpoints and a best one; returns its folder with them."""
    output = run("1").path / "output"
    for name in ("iter_16.pth", "iter_32.pth", "best_val_loss_iter_16.pth"):
        save_pickled(output / name, b"N.")
    return output


@pytest.mark.parametrize(
    ("wanted", "name", "suffix"),
    [
        (None, "iter_32.pth", ""),
        ("last", "iter_32.pth", ""),
        ("2", "iter_32.pth", ""),
        ("1", "iter_16.pth", "-iter_16"),
        ("best", "best_val_loss_iter_16.pth", "-best_val_loss_iter_16"),
        (Path("runs/1/output/iter_16.pth"), "iter_16.pth", "-iter_16"),
    ],
)
def test_a_run_has_a_checkpoint_to_choose_and_a_folder_for_each(saved, wanted, name, suffix):
    source = resolve("1", wanted)
    assert checkpoint_of(source) == saved / name
    assert card_of(source).checkpoint == f"output/{name}"
    assert target_of(source, None, "adapter") == saved.parent / f"adapter{suffix}"
    assert target_of(source, "there", "adapter") == Path("there")


def test_a_runs_checkpoint_is_a_source_as_well(saved):
    assert resolve(saved / "iter_16.pth") == resolve("1", "1")
    assert resolve(saved).run is None
    (saved / "iter_16.pth").write_bytes(b"cut")
    assert resolve(saved / "iter_16.pth").run is None


@pytest.mark.parametrize(("wanted", "warns"), [(None, True), ("last", True), ("1", False)])
def test_a_newer_checkpoint_that_cannot_be_read_is_named(saved, capsys, wanted, warns):
    (saved / "iter_48.pth").write_bytes(b"\x80\x02}.")  # a pickle, and no zip
    assert checkpoint_of(resolve("1", wanted)).name == ("iter_32.pth" if warns else "iter_16.pth")
    told = "warning: `iter_48.pth` of run `1` cannot be read (it is no whole zip file, as torch writes them): taking "
    assert (told in capsys.readouterr().err) is warns


def test_only_a_run_has_a_checkpoint_to_choose(saved):
    with pytest.raises(UsageError, match=r"--checkpoint.*base` is no run; leave it out"):
        resolve("base", "best")
    with pytest.raises(InputError, match="no readable checkpoint `3`"):
        resolve("1", "3")


def test_a_folder_that_was_made_of_something_else_is_not_taken_for_it(saved):
    source = resolve("1")
    assert made(source, card_of(source), "adapter") is None
    adapter = target_of(source, None, "adapter")
    adapter.mkdir()
    card_of(source).save(adapter)
    assert made(source, card_of(source), "adapter") == adapter
    assert made(source, card_of(source, "other"), "adapter") is None
    assert made(resolve("1", "best"), card_of(resolve("1", "best")), "adapter") is None
    save_pickled(saved / "iter_48.pth", b"N.")  # the run went on
    assert made(source, card_of(source), "adapter") is None


def test_what_another_run_left_is_not_taken_for_the_runs_own(saved):
    run("2")
    save_pickled(Path("runs/2/output/iter_32.pth"), b"N.")
    one, other = resolve("1"), resolve("2")
    for name in ("adapter", "merged"):
        folder = target_of(one, None, name)
        folder.mkdir()
        card_of(other).save(folder)
        assert (made(one, card_of(one), name), card_in(one, folder)) == (None, None)
        assert card_in(resolve(folder), folder).run == "2"  # a folder is what it says
        card_of(one).save(folder)
        assert card_in(one, folder).run == "1"


def test_a_folder_outlives_the_checkpoint_that_it_was_made_of(saved):
    source = resolve("1")
    adapter = target_of(source, None, "adapter")
    adapter.mkdir()
    card_of(source).save(adapter)
    for file in saved.iterdir():
        file.unlink()
    assert made(source, card_of(source), "adapter") == adapter


def test_a_model_of_no_known_family_has_a_card_and_is_asked_about_only_when_it_is_to_answer(folder):
    (folder / "base" / "config.json").write_text('{"model_type": "odd"}')
    found = card_of(resolve("base"))
    assert (found.family, found.template, found.stop) == ("", {}, ())
    with pytest.raises(InputError, match=r"base`, of model_type `odd`, is of no known family; .* `--template FAMILY`"):
        askable(found, folder / "base")
    named = card_of(resolve("base"), template="qwen3")
    assert askable(named, folder / "base") == named
    known = askable(found, folder / "other")  # what is there now may be known
    prompt = families.get("qwen2.5").cell("xtuner").prompt
    assert (known.family, known.prompt) == ("qwen2.5", prompt)
