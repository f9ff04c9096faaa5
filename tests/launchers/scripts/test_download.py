"""Models from a hub: the real client against a server on this machine that speaks Hugging Face's protocol."""

import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.launchers.environment.model_download import local_model

from ...builders.hub_server import hub_server  # noqa: TID252


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return the folder of the model `owner/tiny` on the server."""
    with hub_server(tmp_path, monkeypatch) as server:
        yield server.add("owner/tiny")


@pytest.mark.framework
def test_a_bare_name_is_hugging_faces(hub, training_python, tmp_path, monkeypatch):
    (hub / "config.json").write_text('{"model_type": "qwen2"}')
    (hub / "model.safetensors").write_bytes(b"weights")
    (hub / "pytorch_model.bin").write_bytes(b"the same, as a pickle")
    folder = local_model("owner/tiny", lambda: training_python, tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert local_model("hf://owner/tiny", lambda: training_python, tmp_path) == folder
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            assert local_model("owner/tiny", lambda: training_python, tmp_path) == folder
            with pytest.raises(InputError, match="`owner/other` is in no cache here"):
                local_model("owner/other", lambda: training_python, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens: the network is gone
    assert local_model("owner/tiny", lambda: training_python, tmp_path) == folder


@pytest.mark.framework
def test_modelscopes_cache_serves_without_a_network(training_python, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "127.0.0.1:9")  # nobody listens
    folder = tmp_path / "cache" / "models" / "owner--tiny" / "snapshots" / "master"
    folder.mkdir(parents=True)  # as a download leaves it that has failed at once
    with pytest.raises(InputError, match="could not get `owner/tiny` from ModelScope"):
        local_model("ms://owner/tiny", lambda: training_python, tmp_path)
    (folder / "model.safetensors").write_bytes(b"weights")
    assert local_model("ms://owner/tiny", lambda: training_python, tmp_path) == folder


@pytest.mark.framework
def test_download_without_weights_is_completed_later(hub, training_python, tmp_path, monkeypatch, capfd):
    for name in ("config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "model.safetensors", "odd.weights"):
        (hub / name).write_text("{}")
    folder = local_model("owner/tiny", lambda: training_python, tmp_path, weights=False)
    small = ["config.json", "merges.txt", "tokenizer.json", "tokenizer.model"]
    assert sorted(file.name for file in folder.iterdir()) == small
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens: the network is gone
        assert local_model("owner/tiny", lambda: training_python, tmp_path, weights=False) == folder
        with pytest.raises(InputError, match="could not get `owner/tiny`"):
            local_model("owner/tiny", lambda: training_python, tmp_path)
    assert local_model("owner/tiny", lambda: training_python, tmp_path) == folder
    assert (folder / "model.safetensors").exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.framework
def test_a_name_that_is_not_there_is_one_sentence(hub, training_python, tmp_path, capfd):
    with pytest.raises(InputError, match="could not get `owner/none` from Hugging Face"):
        local_model("owner/none", lambda: training_python, tmp_path)
    assert "Traceback" not in capfd.readouterr().err


# Stands for a client that prints, shows bars and fails with what a hub's server or its files' names hold.
CLIENT = """
import sys
def snapshot_download(*_, **__):
    for text in ("\\r50% \\x1b]52;c;aGk=\\x07\\r", "\\n", "\\x1b[A", "\\r   \\r", "\\x9b1m\\u202e\\n"):
        sys.stderr.write(text)
    raise RuntimeError("\\x1b[2J")
"""


def test_messages_of_a_hub_client_are_escaped_and_its_bars_move(tmp_path, monkeypatch, capfd):
    (tmp_path / "modelscope.py").write_text(CLIENT, encoding="utf-8")
    (tmp_path / "modelscope_hub").mkdir()
    (tmp_path / "modelscope_hub" / "errors.py").write_text("class CacheError(Exception): pass")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match="could not get"):
        local_model("ms://owner/tiny", lambda: Path(sys.executable), tmp_path)
    shown = r"50% \x1b]52;c;aGk=\x07"
    assert capfd.readouterr().err.partition("...\n")[2] == (
        f"\r{shown}\n\x1b[A\r   \\x9b1m\\u202e\nRuntimeError: \\x1b[2J\n"
    )


@pytest.mark.framework
@pytest.mark.parametrize("scheme", ["hf", "ms"])
@pytest.mark.parametrize("weights", [True, False])
def test_no_file_is_written_where_a_name_leads_out_of_the_folder(
    training_python, tmp_path, monkeypatch, scheme, weights
):
    with hub_server(tmp_path, monkeypatch) as server:
        folder = server.add("owner/tiny")
        for name in ("tiny/config.json", "tiny/data/model.json", "up.json"):
            (folder.parent / name).parent.mkdir(exist_ok=True)
            (folder.parent / name).write_text(f'{{"is": "{name}"}}')
        server.named = [
            "../up.json",
            "data/../../up.json",
            str(folder.parent / "up.json"),
            "clip\x1b]52;c;aGk=\x07.json",
        ]
        if scheme == "ms":
            found = local_model("ms://owner/tiny", lambda: training_python, tmp_path, weights=weights)
            assert sorted(file.name for file in found.rglob("*.json")) == ["config.json", "model.json"]
        else:
            with pytest.raises(InputError, match="could not get `owner/tiny`"):
                local_model("hf://owner/tiny", lambda: training_python, tmp_path, weights=weights)
    assert list(tmp_path.rglob("up.json")) == [folder.parent / "up.json"]
