"""The hubs' own clients, and what is said of what they raise."""

import os
import subprocess
import sys

import pytest

from ftbridge.adapters.sources.repository.hub import open_url
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.records import Reading

READING = Reading()
HUBS = pytest.mark.parametrize("scheme", ["hf", "ms"])
TOKEN = "hf_a-secret-that-must-not-be-shown"  # noqa: S105 - made up


def opened(url):
    """Return file, part and number of rows of each table."""
    return [
        (table.file, table.part, sum(1 for piece in table.pieces for _ in piece.rows()))
        for table in open_url(url, READING)
    ]


@HUBS
def test_a_dataset_that_is_not_there_is_one_sentence(server, scheme):
    with pytest.raises(InputError, match=r"has no dataset `owner/none`, or it is private; check the name, or log in"):
        opened(f"{scheme}://owner/none")


@HUBS
@pytest.mark.parametrize("answer", [(403, "GatedRepo"), (401, "GatedRepo"), (403, ""), (401, "")])
def test_a_closed_dataset_is_one_sentence(server, scheme, answer, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    server.closed = answer
    with pytest.raises(SetupError, match=r"refuses `owner/faq`: accept the terms .* log in with") as caught:
        opened(f"{scheme}://owner/faq")
    assert TOKEN not in str(caught.value)
    assert any(token and TOKEN in token for token in server.tokens) or scheme == "ms"


def test_a_hub_that_fails_is_one_sentence(server):
    server.closed = (503, "")
    with pytest.raises(SetupError, match="answered with the error 503; try again later"):
        opened("hf://owner/faq")


@HUBS
@pytest.mark.parametrize("answer", ["[]", "null"])
def test_server_that_does_not_speak_the_hubs_protocol_is_one_sentence(server, scheme, answer):
    server.answer = answer
    with pytest.raises(SetupError, match=r"got an unexpected answer from .* \(.*check the proxy, and the mirror in"):
        opened(f"{scheme}://owner/faq")


@HUBS
def test_downloaded_dataset_is_read_without_a_network(server, scheme, monkeypatch):
    expected = opened(f"{scheme}://owner/faq")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    assert opened(f"{scheme}://owner/faq") == expected
    assert "this is what was downloaded before" in open_url(f"{scheme}://owner/faq", READING)[0].notes[0]
    with pytest.raises(SetupError, match=r"cannot be reached \(.*\): check the network"):
        opened(f"{scheme}://owner/other")


@pytest.mark.parametrize(("url", "module"), [("hf://a/b", "huggingface_hub"), ("ms://a/b", "modelscope_hub")])
def test_missing_hub_client_is_refused_with_the_install_command(url, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SetupError, match=r"`pip install '\.\[hub\]'`"):
        open_url(url, READING)


@pytest.mark.slow
@HUBS
def test_hub_clients_follow_their_variables_and_print_nothing(server, scheme, tmp_path):
    script = (
        "import sys\n"
        "from ftbridge.adapters.sources.repository.hub import open_url\n"
        "from ftbridge.core.plugins import Reading\n"
        "print(*(table.file for table in open_url(sys.argv[1], Reading())))\n"
    )
    env = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "MODELSCOPE_DOMAIN": server.url}
    env.pop("MODELSCOPE_ENDPOINT")
    command = [sys.executable, "-c", script, f"{scheme}://owner/faq"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("train.jsonl test.jsonl\n", "")
    assert sorted(server.asked) == ["test.jsonl", "train.jsonl"]
