"""Export: PEFT's names and numbers from XTuner's checkpoint, without torch."""

import json
import os
import struct
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.files import safetensors_header
from ftbridge.core.spec import TrainSpec
from ftbridge.weights.export import export
from ftbridge.weights.sources import load_card

LAYER = "llm.base_model.model.model.layers.0.self_attn.q_proj"
LORA = {f"{LAYER}.lora_A.default.weight": (2, 3), f"{LAYER}.lora_B.default.weight": (3, 2)}
PEFT = [f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight" for part in "AB"]
BASE = '{"model_type": "qwen2", "tokens": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]}'
DATA = struct.pack("<6f", *range(6))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Stand in a project with a base model and an interpreter that is never started."""
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    (tmp_path / "base").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        (tmp_path / "base" / name).write_text(BASE)
    return tmp_path


def pickled(key, tensors, meta=""):
    """Write by hand what torch.save pickles: a dict of tensors, all of one storage, and XTuner's config."""
    text = "(d"
    for name, (rows, columns) in tensors.items():
        text += f"S'{name}'\nctorch._utils\n_rebuild_tensor_v2\n"
        text += "((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI6\ntQ"
        text += f"I0\n(I{rows}\nI{columns}\nt(I{columns}\nI1\ntI00\nNtRs"
    return f"(dS'{key}'\n{text}sS'meta'\n(dS'cfg'\nS'{meta}'\nss.".encode()


def checkpoint(path, content):
    """Write `content` as torch.save does, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/data/0", DATA)
    return path


def run(folder, backend="xtuner"):
    """Make a run that has succeeded; returns its output folder."""
    spec = msgspec.to_builtins(TrainSpec(backend=backend, model="base", dataset="faq", lora_alpha=32))
    record = {"id": "one", "folder": "", "status": "succeeded", "spec": spec, "model": str(folder / "base")}
    record |= {"launch": {"argv": [], "env": {}, "cwd": "", "files": {}}, "family": "qwen2", "system": "说中文"}
    record |= {"samples": 1, "steps": 1, "versions": {}, "datasets": {}, "attempts": [], "pid": os.getpid()}
    output = folder / "runs" / "one" / "output"
    output.mkdir(parents=True)
    (output.parent / "run.json").write_text(json.dumps(record))
    return output


def check_adapter(target, alpha):
    """See that `target` holds the adapter that was put into the checkpoint."""
    file = target / "adapter_model.safetensors"
    header = safetensors_header(file)
    assert list(header) == PEFT
    assert [tensor["shape"] for tensor in header.values()] == [[2, 3], [3, 2]]
    assert file.read_bytes().endswith(DATA + DATA)
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, alpha, ["q_proj"])
    assert config["base_model_name_or_path"] == str(Path("base").absolute())


@pytest.mark.parametrize(
    ("key", "place"), [("state_dict", "iter_9.pth"), ("module", "iter_9.pth/mp_rank_00_model_states.pt")]
)
def test_a_run_gives_peft_its_adapter(folder, key, place):
    output = run(folder)
    checkpoint(output / "iter_3.pth", pickled(key, {}))
    checkpoint(output / place, pickled(key, LORA))
    target = export()
    assert target == folder / "runs" / "one" / "adapter"
    check_adapter(target, 32)
    names = {path.name for path in target.iterdir()}
    ours = {"adapter_config.json", "adapter_model.safetensors", "ftbridge.json"}
    assert names == {*ours, "tokenizer.json", "tokenizer_config.json"}
    assert (load_card(target).system, load_card(target).run) == ("说中文", "one")


def test_exporting_again_gives_the_same(folder):
    checkpoint(run(folder) / "iter_9.pth", pickled("state_dict", LORA))
    before = {path.name: path.read_bytes() for path in export("one").iterdir()}
    assert {path.name: path.read_bytes() for path in export("runs/one").iterdir()} == before


def test_a_checkpoint_alone_needs_a_base_and_a_place_and_knows_its_alpha(folder):
    file = checkpoint(folder / "iter_9.pth", pickled("state_dict", LORA, "lora=dict(lora_alpha=8)"))
    with pytest.raises(InputError, match="does not say which base"):
        export(file, out="new")
    with pytest.raises(InputError, match="--out DIR"):
        export(file, model="base")
    check_adapter(export(file, model="base", out="new"), 8)


def test_rslora_and_dora_are_kept_for_they_change_the_merge(folder):
    name = next(iter(LORA)).partition(".lora_A")[0] + ".lora_magnitude_vector.default.weight"
    content = pickled("state_dict", {**LORA, name: (3, 1)}, "lora_alpha=8, use_rslora=True")
    target = export(checkpoint(folder / "iter_9.pth", content), model="base", out="new")
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["lora_alpha"], config["use_rslora"], config["use_dora"]) == (8, True, True)
    assert config["target_modules"] == ["q_proj"]
    header = safetensors_header(target / "adapter_model.safetensors")
    assert sum(each.endswith("q_proj.lora_magnitude_vector") for each in header) == 1


def test_a_checkpoint_of_zero3_is_refused_with_a_way_out(folder):
    checkpoint(run(folder) / "iter_9.pth" / "zero_pp_rank_0_mp_rank_00_model_states.pt", pickled("module", {}))
    with pytest.raises(InputError, match=r"shared out by ZeRO-3.*--deepspeed zero2"):
        export("one")


def test_a_checkpoint_without_its_alpha_is_refused(folder):
    file = checkpoint(folder / "iter_9.pth", pickled("state_dict", LORA))
    with pytest.raises(InputError, match="does not say its lora_alpha"):
        export(file, model="base", out="new")
    assert not (folder / "new").exists()


def test_full_training_gives_a_model_with_tied_weights_once(folder):
    weights = {"llm.model.embed_tokens.weight": (2, 3), "llm.lm_head.weight": (2, 3)}
    checkpoint(run(folder) / "iter_9.pth", pickled("state_dict", weights))
    target = export()
    assert list(safetensors_header(target / "model.safetensors")) == ["model.embed_tokens.weight"]
    assert (target / "config.json").is_file()
    assert not (target / "model.safetensors.index.json").exists()


@pytest.mark.parametrize("content", [pickled("state_dict", {}), b"."])
def test_a_checkpoint_without_weights_leaves_nothing(folder, content):
    checkpoint(run(folder) / "iter_9.pth", content)
    with pytest.raises(InputError, match=r"holds no weights|is damaged"):
        export()
    assert {path.name for path in (folder / "runs" / "one").iterdir()} == {"run.json", "output"}


def test_llamafactorys_adapter_is_copied_without_what_only_training_needs(folder):
    output = run(folder, "llamafactory")
    header = b"{}"
    (output / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    for name in ("adapter_config.json", "tokenizer.json", "optimizer.pt", "trainer_log.jsonl"):
        (output / name).write_text("its own")
    target = export()
    names = {path.name for path in target.iterdir()}
    ours = {"adapter_config.json", "adapter_model.safetensors", "ftbridge.json"}
    assert names == {*ours, "tokenizer.json", "tokenizer_config.json"}
    assert (target / "tokenizer.json").read_text() == "its own"


def test_a_folder_without_a_checkpoint_is_one_sentence(folder):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither a checkpoint nor an adapter"):
        export("empty", model="base", out="new")
    (folder / "empty" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no adapter_model.safetensors"):
        export("empty", model="base", out="new")
