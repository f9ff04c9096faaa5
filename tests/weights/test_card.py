"""A base that has changed since the training is told before anything is made of it."""

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.core.project import Project
from ftbridge.dialogue.chat import model_of, source_of
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.written_files import CARD
from ftbridge.weights.card import load_card
from ftbridge.weights.tensors import safetensors

from ..builders.checkpoints import LORA, xtuner  # noqa: TID252
from ..builders.runs import record_run  # noqa: TID252

TENSOR = "model.layers.0.self_attn.q_proj.weight"
OTHER = f"does not have the weights that run `one` was trained on: 1 of its 1 tensors differ, such as `{TENSOR}`"


class ReachedError(Exception):
    """The merge itself has begun."""


def weights(folder, value):
    safetensors.write(folder / "model.safetensors", [(TENSOR, "F32", (3, 3), [bytes([value]) * 36])])


@pytest.fixture(autouse=True)
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


def test_nothing_is_said_of_a_base_that_is_as_it_was_or_was_only_moved(base, tmp_path, capsys):
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


def test_other_weights_are_not_merged_into_unless_the_base_is_named(base, capsys):
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


def test_another_adapter_must_be_of_the_same_base(base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    weights(other, 7)
    trained("two", other)
    ftbridge.export("two", out="second")
    with pytest.raises(InputError, match=OTHER.replace("one", "two")):
        ftbridge.merge("one", adapters=[("second", 0.5)])


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "modeling_own.py"])
def test_another_file_that_matters_is_a_warning(base, capsys, name):
    (base / name).write_text((base / name).read_text() + "\n")
    with pytest.raises(ReachedError):
        ftbridge.merge("one")
    assert f"base`, `{name}` changed since run `one` was trained" in capsys.readouterr().err


def test_export_warns(base, capsys):
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


def test_nothing_is_said_of_a_run_without_a_record(base, capsys):
    run = record_run(Project.find(), "old")
    msgspec.structs.replace(run, model=str(base)).save()
    (run.path / "output").mkdir()
    xtuner(run.path / "output" / "iter_9.pth", LORA)
    weights(base, 2)
    with pytest.raises(ReachedError):
        ftbridge.merge("old")
    assert "warning" not in capsys.readouterr().err


def test_what_full_tuning_leaves_needs_no_base(base, capsys):
    trained("full", base, {f"llm.{TENSOR}": (3, 3)}, method="full")
    weights(base, 2)
    assert (ftbridge.merge("full") / "model.safetensors").is_file()
    assert "does not have the weights that run `full` was trained on" in capsys.readouterr().err
