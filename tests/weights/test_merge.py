"""From a real checkpoint to an adapter and a merged model, judged by the frameworks' own tools."""

import json
import subprocess
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.core.files import safetensors_header
from ftbridge.weights.sources import load_card

pytestmark = pytest.mark.framework
BACKENDS = ["xtuner", "llamafactory"]
JUDGE = Path(__file__).with_name("judge.py")


@pytest.mark.parametrize("backend", BACKENDS)
def test_export_gives_a_peft_adapter(trained, in_project, backend):
    run = trained(backend=backend)
    adapter = ftbridge.export(run.id)
    header = safetensors_header(adapter / "adapter_model.safetensors")
    assert header is not None
    assert len(header) == 2 * 14  # A and B of seven linear layers in each of two blocks
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    card = load_card(adapter)
    assert card is not None
    assert (card.backend, card.family, card.run) == (backend, "qwen2.5", run.id)
    assert card.system.startswith("You are a professional, highly experienced doctor")


@pytest.mark.parametrize("backend", BACKENDS)
def test_merged_is_base_plus_adapter_in_the_bases_dtype(trained, in_project, training_python, backend):
    run = trained(backend=backend)
    merged = ftbridge.merge(run.id)
    header = safetensors_header(merged / "model.safetensors")
    assert header is not None
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    done = subprocess.run(
        [training_python, JUDGE, in_project / "base", run.path / "adapter", merged],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.matrix
@pytest.mark.parametrize("gpus", [1, 2])
def test_export_equals_xtuners_own(trained, in_project, training_python, tmp_path, gpus):
    run = trained(backend="xtuner", gpus=gpus)
    adapter = ftbridge.export(run.id)
    checkpoint = max((run.path / "output").glob("iter_*.pth"))
    done = subprocess.run(
        [training_python, JUDGE, "--xtuner", run.path / "xtuner_config.py", checkpoint, tmp_path / "own", adapter],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_without_a_base_asks_for_it(tmp_path, monkeypatch, in_project):
    (tmp_path / "iter_1.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match="--model"):
        ftbridge.export(tmp_path / "iter_1.pth", out=tmp_path / "out")
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        ftbridge.export(tmp_path / "iter_1.pth", model=str(in_project / "base"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
