"""Where the key goes and where it does not, proxies, and addresses that are none."""

import pytest

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.dialogue.generation import Sampling
from ftbridge.evaluation.answers.engines.endpoint import Endpoint, Patience
from ftbridge.evaluation.answers.engines.server import KEY, Server

from .api_server import serving

SECRET = "sk-a-secret-that-must-not-be-written"  # noqa: S105 - made up


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(address):
    with Endpoint(address, "tiny", 1, patience=Patience(seconds=2, tries=2, pause=0.01)) as engine:
        return next(engine.batch([engine.prompt_for("", [("hello", None)])], (), Sampling())).text


def test_the_key_is_sent_and_never_shown(monkeypatch, capsys):
    monkeypatch.setenv(KEY, SECRET)
    with serving() as server:
        assert ask(server.address) == "hello"
        assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    for status in (401, 500, 200):
        with (
            serving(
                lambda asked, status=status: asked.say(status, f"no: {asked.headers['Authorization']}".encode())
            ) as server,
            pytest.raises(Exception, match=r"no: Bearer \*\*\*") as failed,
        ):
            ask(server.address)
        assert SECRET not in str(failed.value)
    assert SECRET not in capsys.readouterr().err
    monkeypatch.delenv(KEY)
    with serving() as server:
        ask(server.address)
        assert "Authorization" not in server.requests[0].headers


def test_a_redirection_is_not_followed(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with serving() as other, serving(lambda asked: asked.say(307, b"", Location=other.address)) as server:
        with pytest.raises(UsageError, match="answers 307: it redirects to another address; give that one"):
            ask(server.address)
        assert other.requests == []


@pytest.mark.parametrize("key", ["密钥", "sk-1\nHost: evil"])
def test_a_key_that_no_header_takes_is_refused_unseen(monkeypatch, key):
    monkeypatch.setenv(KEY, key)
    with pytest.raises(SetupError, match="holds an invalid key") as failed:
        Server("http://localhost", 1)
    assert key not in str(failed.value)


def test_a_key_that_is_sent_without_encryption_is_told(monkeypatch, capsys):
    monkeypatch.setenv(KEY, SECRET)
    for address in ("http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost", "https://example.com"):
        Server(address, 1)
    assert capsys.readouterr().err == ""
    Server("http://10.0.0.7:8000", 1)
    assert "warning: 10.0.0.7:8000 is asked without encryption" in capsys.readouterr().err


def test_a_proxy_is_asked_but_not_for_this_machine(monkeypatch):
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:pass%20word@127.0.0.1:{proxy.server_port}")
        with serving() as server:
            assert ask(server.address) == "hello"
        assert proxy.requests == []
        assert ask("http://models.example/v1") == "hello"
        assert proxy.requests[0].path == "http://models.example/v1/chat/completions"
        assert proxy.requests[0].headers["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
        monkeypatch.setenv("no_proxy", "models.example")
        assert Server("http://models.example", 1)._proxy is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        (" https://example.com/v1/ ", "https://example.com/v1"),
        ("https://example.com/openai/v1/chat/completions", "https://example.com/openai/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_the_address_of_the_api_is_found(given, meant):
    assert Server(given, 1).address == meant


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://a b/v1",
        "http://a:x",
        "http://[1",
        "http://é",
        "http://a/\nb",
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(
        UsageError, match=r"`--endpoint` is not the address of a server; give one such as http://localhost"
    ):
        Server(address, 1)


@pytest.mark.parametrize("address", [f"http://me:{SECRET}@a/v1", f"http://a/v1?key={SECRET}", f"http://a/#{SECRET}"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(address):
    with pytest.raises(UsageError, match="holds more than an address") as failed:
        Server(address, 1)
    assert SECRET not in str(failed.value)
