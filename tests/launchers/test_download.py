"""Models from a hub: the real client against a server of our own that speaks Hugging Face's protocol."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.launchers.models import local_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the model `owner/tiny` from the class's `folder`."""

    folder: Path

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, *, with_body):
        path = self.path.partition("?")[0]
        files = sorted(file for file in self.folder.iterdir() if file.is_file())
        if path.startswith("/api/models/owner/tiny"):
            if "/tree/" in path:
                info = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in files]
            else:
                info = {"id": "owner/tiny", "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
            self.reply(json.dumps(info).encode(), "application/json", with_body=with_body)
        elif path.startswith("/owner/tiny/resolve/") and (self.folder / path.rpartition("/")[2]).is_file():
            data = (self.folder / path.rpartition("/")[2]).read_bytes()
            self.reply(data, "application/octet-stream", with_body=with_body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, data, kind, *, with_body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    Hub.folder = tmp_path / "served"
    Hub.folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield Hub.folder
    server.shutdown()
    server.server_close()


@pytest.mark.framework
def test_a_bare_name_is_hugging_faces(hub, training_python, tmp_path, monkeypatch):
    (hub / "config.json").write_text('{"model_type": "qwen2"}')
    (hub / "model.safetensors").write_bytes(b"weights")
    (hub / "pytorch_model.bin").write_bytes(b"the same, as a pickle")
    folder = local_model("owner/tiny", training_python, tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert local_model("hf://owner/tiny", training_python, tmp_path) == folder
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens: the network is gone
    assert local_model("owner/tiny", training_python, tmp_path) == folder


@pytest.mark.framework
def test_without_weights_the_rest_is_fetched_and_completed_later(hub, training_python, tmp_path, monkeypatch, capfd):
    for name in ("config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "model.safetensors", "odd.weights"):
        (hub / name).write_text("{}")
    folder = local_model("owner/tiny", training_python, tmp_path, weights=False)
    small = ["config.json", "merges.txt", "tokenizer.json", "tokenizer.model"]
    assert sorted(file.name for file in folder.iterdir()) == small
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens: the network is gone
        assert local_model("owner/tiny", training_python, tmp_path, weights=False) == folder
        with pytest.raises(InputError, match="could not get `owner/tiny`"):
            local_model("owner/tiny", training_python, tmp_path)
    assert local_model("owner/tiny", training_python, tmp_path) == folder
    assert (folder / "model.safetensors").exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.framework
def test_a_name_that_is_not_there_is_one_sentence(hub, training_python, tmp_path, capfd):
    with pytest.raises(InputError, match="could not get `owner/none` from Hugging Face"):
        local_model("owner/none", training_python, tmp_path)
    assert "Traceback" not in capfd.readouterr().err
