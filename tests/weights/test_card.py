"""Cards: what a model says of itself; a base that has changed since the training is told."""

import json
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.dialogue.chat import model_of, source_of
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import load_run
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.templates.families import get_family, load_families
from ftbridge.weights.card import card_in, card_of, card_with_prompt, existing_output, load_card
from ftbridge.weights.source import resolve, target_of
from ftbridge.weights.tensors import safetensors

from ..builders.checkpoints import LORA, xtuner  # noqa: TID252
from ..builders.model_sources import card, trained_run  # noqa: TID252
from ..builders.runs import record_run  # noqa: TID252
from ..builders.torch_files import save_pickled  # noqa: TID252

TENSOR = "model.layers.0.self_attn.q_proj.weight"
OTHER = f"does not have the weights that run `one` was trained on: 1 of its 1 tensor differs, such as `{TENSOR}`"


class ReachedError(Exception):
    """The merge itself has begun."""


def weights(folder, value):
    safetensors.write(folder / "model.safetensors", [(TENSOR, "F32", (3, 3), [bytes([value]) * 36])])


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Stand in a project with a base and a run that was trained on it; a merge ends where the computing would begin."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n  xtuner: {{python: {sys.executable}}}\n")
    folder = tmp_path / "base"
    folder.mkdir()
    tokens = '{"model_type": "qwen2", "tokens": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]}'
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "modeling_own.py"):
        (folder / name).write_text(tokens)
    weights(folder, 1)
    trained("one", folder)

    def reached(*_, **__):
        raise ReachedError

    monkeypatch.setattr("ftbridge.weights.merge.merge_weights", reached)
    return folder


def trained(name, base, shapes=LORA, **options):
    """Make a run that was trained on `base` as it is now."""
    run = record_run(Project.find(), name, **options)
    msgspec.structs.replace(run, model=str(base), base=fingerprint(base)).save()
    (run.path / "output").mkdir()
    xtuner(run.path / "output" / "iter_9.pth", shapes)


def test_unchanged_or_moved_base_gives_no_warning(base, tmp_path, capsys):
    with pytest.raises(ReachedError):
        ftbridge.merge("one")
    assert load_card(ftbridge.export("one")).trained_on == fingerprint(base)
    moved = base.rename(tmp_path / "moved")
    (moved / "README.md").write_text("moved")
    with pytest.raises(ReachedError):
        ftbridge.merge("one", model="moved")
    with pytest.raises(ReachedError):
        ftbridge.merge("runs/one/adapter", model="moved", out="out")
    assert "warning" not in capsys.readouterr().err


def test_a_model_without_an_adapter_is_not_merged_and_replaces_nothing(base, tmp_path):
    out = tmp_path / "out"
    for kind in (None, "merged"):
        if kind:
            (base / CARD).write_text(
                json.dumps({**json.loads((ftbridge.export("one") / CARD).read_text()), "kind": kind})
            )
        with pytest.raises(InputError, match=r"base` holds no adapter; there is nothing to merge"):
            ftbridge.merge("base", out=out)
        assert not out.exists()
    (base / CARD).write_text((base / CARD).read_text().replace('"merged"', '"model"'))
    assert (ftbridge.merge("base", model=str(tmp_path / "base"), out=out) / "model.safetensors").is_file()


def test_changed_base_weights_are_refused_unless_the_base_is_named(base, capsys):
    weights(base, 2)
    with pytest.raises(InputError, match=rf"{OTHER}.*`--model .*base` takes this one"):
        ftbridge.merge("one")
    assert not Path("runs/one/adapter").exists()  # it is said before the work
    with pytest.raises(ReachedError):
        ftbridge.merge("one", model="base")
    assert capsys.readouterr().err.count(OTHER) == 1


def test_an_exported_adapter_knows_its_base_as_well(base, tmp_path):
    adapter = ftbridge.export("one", out="mine")
    shutil.rmtree(tmp_path / "runs")
    weights(base, 2)
    with pytest.raises(InputError, match=OTHER):
        ftbridge.merge(adapter, out="out")
    with pytest.raises(ReachedError):
        ftbridge.merge(adapter, out="out", model="base")


def test_second_adapter_of_another_base_is_refused(base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    weights(other, 7)
    trained("two", other)
    ftbridge.export("two", out="second")
    with pytest.raises(InputError, match=OTHER.replace("one", "two")):
        ftbridge.merge("one", adapters=[("second", 0.5)])


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "modeling_own.py"])
def test_changed_config_or_tokenizer_of_the_base_is_a_warning(base, capsys, name):
    (base / name).write_text((base / name).read_text() + "\n")
    with pytest.raises(ReachedError):
        ftbridge.merge("one")
    assert f"base`, `{name}` changed since run `one` was trained" in capsys.readouterr().err


def test_export_with_changed_base_weights_is_a_warning(base, capsys):
    weights(base, 2)
    ftbridge.export("one")
    assert OTHER in capsys.readouterr().err


@pytest.mark.parametrize("source", ["one", "runs/one/adapter"])
def test_chat_and_predict_warn_once_and_go_on(base, capsys, source):
    ftbridge.export("one")
    weights(base, 2)
    assert model_of(source_of(source))[1] == base
    assert capsys.readouterr().err.count(OTHER) == 1


def test_a_merged_model_needs_no_base_but_to_be_compared(base, tmp_path, capsys):
    adapter = ftbridge.export("one")
    merged = shutil.copytree(base, tmp_path / "merged")
    shutil.copy(adapter / CARD, merged)
    weights(base, 2)
    model_of(source_of("merged"))
    assert capsys.readouterr().err == ""
    model_of(source_of("merged"), compare=True)
    assert OTHER in capsys.readouterr().err


def test_run_without_a_fingerprint_of_its_base_gives_no_warning(base, capsys):
    run = record_run(Project.find(), "old")
    msgspec.structs.replace(run, model=str(base)).save()
    (run.path / "output").mkdir()
    xtuner(run.path / "output" / "iter_9.pth", LORA)
    weights(base, 2)
    with pytest.raises(ReachedError):
        ftbridge.merge("old")
    assert "warning" not in capsys.readouterr().err


def test_full_tuning_merges_without_the_weights_of_its_base(base, capsys):
    trained("full", base, {f"llm.{TENSOR}": (3, 3)}, method="full")
    weights(base, 2)
    assert (ftbridge.merge("full") / "model.safetensors").is_file()
    assert "does not have the weights that run `full` was trained on" in capsys.readouterr().err


def test_the_card_of_a_run_says_how_it_was_trained(folder):
    trained_run("1", backend="llamafactory")
    found = card_of(resolve("1"))
    prompt = get_family("qwen2").cell("llamafactory").prompt
    assert found.prompt == prompt
    assert (found.base, found.family, found.backend) == (str(folder / "base"), "qwen2", "llamafactory")
    assert (found.system, found.run) == ("说中文", "1")
    assert card_of(resolve("1"), "other").base == str(folder / "other")


@pytest.mark.parametrize("family", load_families())
def test_card_of_every_family_reads_back_as_it_was_saved(folder, family):
    trained_run("1", family=family)
    found = card_of(resolve("1"))
    found.save(folder)
    assert msgspec.json.encode(load_card(folder)) == msgspec.json.encode(found)
    assert load_card(folder).prompt == get_family(family).cell("xtuner").prompt


def test_the_card_of_a_folder_is_believed_unless_a_base_is_named(folder):
    (folder / "mine").mkdir()
    card().save(folder / "mine")
    assert card_of(resolve("mine")) == card()
    assert card_of(resolve("mine"), "other") == msgspec.structs.replace(card(), base=str(folder / "other"))
    assert card_of(resolve("mine"), template="qwen3").family == "qwen3"


def test_older_card_with_a_say_on_code_is_read_without_it(folder):
    card(template=msgspec.to_builtins(get_family("qwen2").cell("xtuner").prompt)).save(folder)
    older = json.loads((folder / CARD).read_text()) | {"trust_remote_code": True}
    (folder / CARD).write_text(json.dumps(older))
    known = load_card(folder)
    assert known.prompt == get_family("qwen2").cell("xtuner").prompt
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
def test_card_whose_prompt_could_reach_python_is_damaged(folder, changed):
    template = msgspec.to_builtins(get_family("qwen2").cell("xtuner").prompt) | changed
    card(template=template).save(folder)
    with pytest.raises(InputError, match=r"ftbridge.json` is damaged"):
        load_card(folder)


def test_a_damaged_card_is_one_sentence(folder):
    (folder / "base" / CARD).write_text("{}")
    with pytest.raises(InputError, match=r"base/ftbridge.json` is damaged"):
        card_of(resolve("base"))


@pytest.mark.parametrize("name", ["qa.csv", "data", "runs"])
def test_what_holds_no_model_is_none_whatever_base_is_named(folder, name):
    if name == "qa.csv":
        (folder / name).write_text("question,answer\n")
    else:
        (folder / name).mkdir(exist_ok=True)
    for base in (None, "base"):
        with pytest.raises(InputError, match=rf"{name}` is not a model: .*`ftbridge runs list`.* or a model's folder"):
            card_of(resolve(name), base)


def test_an_adapter_of_somebody_else_names_its_base(folder):
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").touch()
    with pytest.raises(InputError, match=r"adapter` does not say which base.*--model"):
        card_of(resolve("adapter"))
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder / "base")}))
    assert card_of(resolve("adapter")).base == str(folder / "base")
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone"}')
    with pytest.raises(InputError, match=r"`/gone`.*`--model` names another"):
        card_of(resolve("adapter"))


@pytest.mark.parametrize("old_stays", [False, True])
def test_a_project_that_was_moved_or_copied_has_its_base_with_it(folder, monkeypatch, old_stays):
    trained_run("1")
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


def test_model_folder_is_its_own_base(folder):
    assert card_of(resolve("base")).base == str(folder / "base")


@pytest.mark.usefixtures("folder")
def test_a_family_without_a_template_on_the_backend_is_wrong_usage():
    trained_run("1", backend="llamafactory", family="internlm")
    with pytest.raises(UsageError, match="--backend xtuner"):
        card_of(resolve("1"))


def test_output_folder_of_another_checkpoint_or_base_is_not_reused(saved):
    source = resolve("1")
    assert existing_output(source, card_of(source), "adapter") is None
    adapter = target_of(source, None, "adapter")
    adapter.mkdir()
    card_of(source).save(adapter)
    assert existing_output(source, card_of(source), "adapter") == adapter
    assert existing_output(source, card_of(source, "other"), "adapter") is None
    assert existing_output(resolve("1", "best"), card_of(resolve("1", "best")), "adapter") is None
    save_pickled(saved / "iter_48.pth", b"N.")  # the run went on
    assert existing_output(source, card_of(source), "adapter") is None


def test_output_of_another_run_is_not_taken_for_the_runs_own(saved):
    trained_run("2")
    save_pickled(Path("runs/2/output/iter_32.pth"), b"N.")
    one, other = resolve("1"), resolve("2")
    for name in ("adapter", "merged"):
        folder = target_of(one, None, name)
        folder.mkdir()
        card_of(other).save(folder)
        assert (existing_output(one, card_of(one), name), card_in(one, folder)) == (None, None)
        assert card_in(resolve(folder), folder).run == "2"  # a folder is what it says
        card_of(one).save(folder)
        assert card_in(one, folder).run == "1"


def test_exported_folder_is_reused_after_its_checkpoint_is_gone(saved):
    source = resolve("1")
    adapter = target_of(source, None, "adapter")
    adapter.mkdir()
    card_of(source).save(adapter)
    for file in saved.iterdir():
        file.unlink()
    assert existing_output(source, card_of(source), "adapter") == adapter


def test_a_model_of_no_run_is_asked_by_its_own_chat_template_unless_a_family_is_named(folder):
    (folder / "base" / "chat_template.jinja").write_text("{{ messages }}")
    found = card_of(resolve("base"))
    assert (found.chat_template.text, found.family) == ("{{ messages }}", "")
    assert card_with_prompt(found, folder / "base") == found
    named = card_of(resolve("base"), template="qwen3")
    assert (named.chat_template, named.family) == (None, "qwen3")
    (folder / "base" / "chat_template.jinja").unlink()
    without = card_of(resolve("base"))
    assert (without.chat_template, without.family) == (None, "qwen2.5")


def test_a_model_of_no_known_family_has_a_card_and_is_asked_about_only_when_it_is_to_answer(folder):
    (folder / "base" / "config.json").write_text('{"model_type": "odd"}')
    found = card_of(resolve("base"))
    assert (found.family, found.template, found.stop) == ("", {}, ())
    with pytest.raises(InputError, match=r"base`, of model_type `odd`, is of no known family; .* `--template FAMILY`"):
        card_with_prompt(found, folder / "base")
    named = card_of(resolve("base"), template="qwen3")
    assert card_with_prompt(named, folder / "base") == named
    known = card_with_prompt(found, folder / "other")  # what is there now may be known
    prompt = get_family("qwen2.5").cell("xtuner").prompt
    assert (known.family, known.prompt) == ("qwen2.5", prompt)


CACHED = {
    "Hugging Face": ("HF_HUB_CACHE", "models--own--er1.5/snapshots/abc", "own/er1.5", "own/er1.5"),
    "ModelScope": ("MODELSCOPE_CACHE", "models/own/er1___5", "ms://own/er1.5", "ms://own/er1.5"),
}


@pytest.fixture(params=CACHED)
def downloaded(request, base, tmp_path, monkeypatch):
    """Return the base in the cache of a hub, with a run `two` that was trained on it, and the hub's name of it."""
    variable, place, model, hub = CACHED[request.param]
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    folder = tmp_path / "cache" / place
    shutil.copytree(base, folder)
    trained("two", folder, model=model)

    def move():
        (tmp_path / "cache").rename(tmp_path / "moved")
        monkeypatch.setenv(variable, str(tmp_path / "moved"))
        return tmp_path / "moved" / place

    return move, hub


def test_a_downloaded_base_is_named_as_on_its_hub_and_found_where_its_cache_has_moved(downloaded, capsys):
    move, hub = downloaded
    adapter = ftbridge.export("two")
    named = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert (named, load_card(adapter).hub) == ("own/er1.5", hub)
    moved = move()
    shutil.copytree(adapter, "mine")
    for source in ("two", "mine"):
        found = card_of(resolve(source))
        assert (found.base, found.hub) == (str(moved), hub)
    source = resolve("two")
    assert existing_output(source, card_of(source), "adapter") == adapter  # which is not made anew
    with pytest.raises(ReachedError):
        ftbridge.merge("two")
    weights(moved, 2)
    with pytest.raises(InputError, match="does not have the weights that run `two` was trained on"):
        ftbridge.merge("two")
    assert "getting" not in capsys.readouterr().err  # from a hub


@pytest.mark.parametrize("downloaded", ["Hugging Face"], indirect=True)
def test_the_base_of_somebody_elses_cache_is_found_in_ones_own(downloaded):
    move, hub = downloaded
    adapter = ftbridge.export("two")
    (adapter / CARD).unlink()  # PEFT and LLaMA-Factory write none, and the path on their machine
    file = adapter / "adapter_config.json"
    path = load_run(Path("runs/two")).model
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": path}))
    shutil.copytree(adapter, "mine")
    moved = move()
    assert (card_of(resolve("mine")).base, card_of(resolve("mine")).hub) == (str(moved), hub)


def test_a_base_of_the_users_own_keeps_its_path(base):
    adapter = ftbridge.export("one")
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert load_card(adapter).hub == ""
