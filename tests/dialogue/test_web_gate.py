"""What stands before the page: what a request may hold, whom the page answers to, and who knows its password."""

import base64
import json
import re
import resource
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ftbridge.launchers.process.script import SCRIPTS

PARROT = Path(__file__).with_name("parrot_page.py")
GOOD = ["You are a parrot.", 3, 0, 40, 0.75, 1, 0]
JOIN = "/gradio_api/queue/join"
pytestmark = pytest.mark.framework


def raw(page, request):
    """Return the first line and the rest of what comes back for bytes."""
    family = socket.AF_INET6 if ":" in page.host else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect((page.host, page.port))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        said = b""
        while more := client.recv(65536):
            said += more
    first, _, rest = said.decode("latin-1").partition("\r\n")
    return first, rest


def helper_of(page):
    """Return the folder in /proc of the process that serves it; its guard stands between."""
    (guard,) = Path(f"/proc/{page.process.pid}/task/{page.process.pid}/children").read_text().split()
    (helper,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return Path("/proc", helper)


def values(**other):
    """Return system prompt and settings, some of them otherwise."""
    order = ["system", "max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed"]
    return [other.get(name, usual) for name, usual in zip(order, GOOD, strict=True)]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"values": values(system=None)}, "System prompt must be a text"),
        ({"values": values(system=5)}, "System prompt must be a text"),
        ({"values": values(system=[["x"]])}, "System prompt must be a text"),
        ({"values": values(system="\ud83d")}, r"System prompt holds an invalid character ('\ud83d'); delete it"),
        ({"question": None}, "Question must be a text"),
        ({"question": {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}}, "Question must be a text"),
        ({"question": "x\udc80y"}, r"Question holds an invalid character ('\udc80'); delete it"),
        ({"question": "x" * 2**20}, "has 1048576 characters, and the page takes 100000; shorten it"),
        ({"values": values(temperature=float("nan"))}, "Temperature must be a number from 0.0 to 100.0"),
        ({"values": values(temperature=float("inf"))}, "Temperature must be a number"),
        ({"values": values(temperature="0.5")}, "Temperature must be a number"),
        ({"values": values(temperature=True)}, "Temperature must be a number"),
        ({"values": values(temperature=-1)}, "Temperature must be a number"),
        ({"values": values(repetition_penalty=1e999)}, "Repetition penalty must be a number from 0.01 to 100.0"),
        ({"values": values(top_k=[40])}, "Top-k must be a number"),
        ({"values": values(top_p=0)}, "Top-p must be a number from 0.0001 to 1.0"),
        ({"values": values(max_new_tokens=10**400)}, "Max new tokens must be a number"),
        ({"values": values(max_new_tokens=0)}, "Max new tokens must be a number"),
        ({"values": values(seed=2**32)}, "Seed must be a number from 0 to 4294967295"),
        ({"values": values(seed={})}, "Seed must be a number"),
        ({"values": GOOD[:-1]}, "`data` must be a list of 9 values"),
        ({"values": [*GOOD, 0]}, "`data` must be a list of 9 values"),
        ({"fn_index": -1}, "`fn_index` is none of the page's"),
        ({"fn_index": 10**30}, "`fn_index` is none of the page's"),
        ({"fn_index": "0"}, "`fn_index` is none of the page's"),
        ({"fn_index": None}, "`fn_index` is none of the page's"),
        ({"fn_index": False}, "`fn_index` is none of the page's"),
        ({"session": None}, "`session_hash` must be a short name"),
        ({"session": "../x"}, "`session_hash` must be a short name"),
        ({"session": "x" * 100}, "`session_hash` must be a short name"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_question_of_a_wrong_type_is_answered_with_a_sentence(parrot, asked, sentence):
    status, said = parrot.join(**{"session": "bad", **asked})
    assert (status, list(said)) == (400, ["detail"])
    assert sentence in said["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("[", 400),
        ("[]", 400),
        ("null", 400),
        ("[" * 100_000, 400),
        ("{}", 400),
        ('{"data": null, "fn_index": 0, "session_hash": "x"}', 400),
        ('{"data": [["x"]], "fn_index": 0, "session_hash": "x"}', 400),
        ('{"data": ["x", [["q", ["a"]]], "s", 3, 0, 40, 0.75, 1, 0], "fn_index": 0, "session_hash": "x"}', 400),
        (b"\xff\xfe{}", 400),
        ('{"a": ' + "9" * 5000 + "}", 400),
        (" " * (2**21 + 1), 413),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_body_that_is_no_question_is_refused(parrot, body, status):
    found, said = parrot.fetch(JOIN, body)
    assert found == status
    assert list(json.loads(said)) == ["detail"]


@pytest.mark.parametrize(
    "lines",
    [
        "GET / HTTP/1.1\r\nHost: localhost:80:evil",
        "GET / HTTP/1.1\r\nHost: [::1",
        "GET / HTTP/1.1\r\nHost: ]",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:65536",
        "GET / HTTP/1.1\r\nHost: localhost:99999",
        "GET / HTTP/1.1\r\nHost: ",
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org",
        "GET / HTTP/1.1\r\nHost: l\xf6calhost",
        "GET / HTTP/1.1\r\nHost: user@localhost",
        "GET / HTTP/1.1\r\nHost: localhost/",
        "GET / HTTP/1.1\r\nHost: 192.0.2.1",
        "GET / HTTP/1.1\r\nHost: 2130706433",
        "GET http://example.org/ HTTP/1.1\r\nHost: localhost",
        "GET http://[ HTTP/1.1\r\nHost: localhost",
        "GET * HTTP/1.1\r\nHost: localhost",
        "CONNECT example.org:80 HTTP/1.1\r\nHost: localhost",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:1",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: localhost",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://example.org",
        "GET /assets/%00 HTTP/1.1\r\nHost: localhost",
        "GET /assets/../../web_page.py HTTP/1.1\r\nHost: localhost",
        f"GET /assets/{'x' * 5000} HTTP/1.1\r\nHost: localhost",
        "GET /gradio_api/queue/data HTTP/1.1\r\nHost: localhost",
        "GET /gradio_api/queue/data?session_hash=%ff HTTP/1.1\r\nHost: localhost",
        "GET /gradio_api/queue/join HTTP/1.1\r\nHost: localhost",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
        "TRACE / HTTP/1.1\r\nHost: localhost",
        "POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1",
        "POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 0",
        "no HTTP at all",
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_a_malformed_request_is_refused_and_tells_nothing(parrot, lines):
    first, rest = raw(parrot, f"{lines}\r\n\r\n".encode("latin-1"))
    assert re.match(r"HTTP/1\.1 4\d\d ", first), first
    assert "Traceback" not in rest
    assert "site-packages" not in rest
    assert len(rest) < 1000


def test_headers_of_a_proxy_change_nothing_of_the_page(parrot):
    forged = {"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https", "Forwarded": "host=example.org"}
    assert b"example.org" not in parrot.fetch("/config", headers=forged)[1]
    assert parrot.fetch("/config", headers={"X-Forwarded-Host": "["})[0] == 200


def test_hostile_requests_leave_the_page_answering(training_python, page, tmp_path):
    with (tmp_path / "stderr").open("w") as stderr, page(PARROT, "before", "after", cwd=tmp_path, stderr=stderr) as own:
        for asked in ({"values": values(system=None)}, {"question": "\ud800"}, {"values": values(temperature=1e999)}):
            assert own.join("bad", **asked)[0] == 400
        assert own.join("bad", fn_index=-1)[0] == 400
        assert raw(own, b"GET / HTTP/1.1\r\nHost: localhost:80:evil\r\n\r\n")[0].startswith("HTTP/1.1 400")
        # What only ftbridge can tell is answered by it.
        assert own.join("cold", values=values(temperature=1e-300))[0] == 200
        logs = [message["log"] for message in own.stream("cold") if message["msg"] == "log"]
        assert len(logs) == 1
        assert "`temperature` must be 0, or a number of at least 0.0001" in logs[0]
        assert own.ask("good") == "after, turn 1, You are a parrot. seed 0: hello"
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said
    assert said.count("\n") == 2  # how it ends, and the one that ftbridge refused


def test_fifty_clients_at_once_are_all_answered(parrot):
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda number: parrot.ask(f"client{number}", f"no. {number}"), range(50)))
    assert answers == [f"after, turn 1, You are a parrot. seed 0: no. {number}" for number in range(50)]


def test_questions_whose_answer_nobody_reads_are_not_asked(parrot):
    for number in range(20):
        assert parrot.join("unread", f"unread {number}")[0] == 200
    assert parrot.ask("reader") == "after, turn 1, You are a parrot. seed 0: hello"
    assert "unread" not in (parrot.folder / "asked.txt").read_text()


def test_a_model_that_dies_ends_the_page_with_a_sentence(training_python, page, tmp_path):
    with (tmp_path / "stderr").open("w") as stderr, page(PARROT, "after", cwd=tmp_path, stderr=stderr) as own:
        assert own.join("one", "die")[0] == 200
        assert "the model died" in json.dumps(own.stream("one"))
        assert own.process.wait(timeout=120)
        assert not own.answers
    assert "FrameworkError: the model died" in (tmp_path / "stderr").read_text()  # what a command prints as a sentence


def basic(password, user="any"):
    """Return the header that has a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_every_path_asks_for_the_password_and_no_process_shows_it(training_python, page, tmp_path):
    secret = "s3cret:回声"  # noqa: S105 - made up
    with page(PARROT, "before", "after", "--password", secret, cwd=tmp_path) as own:
        for path in ("/", "/config", "/assets/x", "/nowhere", "/gradio_api/queue/data?session_hash=x"):
            assert own.fetch(path)[0] == 401
            assert own.fetch(path, headers={"Host": "example.org", **basic(secret)})[0] == 400
        assert own.fetch(JOIN, "{}")[0] == 401
        assert own.fetch("/", headers=basic(secret))[0] == 200
        assert own.fetch("/", headers=basic(secret, ""))[0] == 200
        assert own.fetch("/nowhere", headers=basic(secret))[0] == 404
        helper = helper_of(own)
        for file in ("cmdline", "environ"):
            assert secret.encode() not in (helper / file).read_bytes()


def test_wrong_passwords_are_slowed_and_refused_and_the_right_one_is_always_let_in(training_python, page, tmp_path):
    with page(PARROT, "after", "--password", "right", cwd=tmp_path) as own:
        wrong = [basic("wrong"), basic("right "), basic(""), {"Authorization": "Basic !"}, {"Authorization": "right"}]
        begun = time.monotonic()
        for headers in wrong:
            assert own.fetch("/", headers=headers)[0] == 401
        assert time.monotonic() - begun >= len(wrong)
        assert own.fetch("/", headers=basic("right"))[0] == 200
        with ThreadPoolExecutor(20) as guesses:
            found = list(guesses.map(lambda number: own.fetch("/", headers=basic(number))[0], range(20)))
        assert {*found} <= {401, 429}
        assert found.count(429) >= 10
        status, said = own.fetch("/", headers=basic("wrong"))
        assert status == 429
        assert "too many were wrong; the right one is let in" in json.loads(said)["detail"]
        assert own.fetch("/", headers=basic("right"))[0] == 200
        assert own.fetch("/")[0] == 401  # it asks


def test_a_page_for_others_answers_to_addresses_and_to_names_that_were_given(training_python, page, tmp_path):
    options = ["--host", "0.0.0.0", "--allow-host", "GPU1.example.org"]  # noqa: S104 - on purpose
    with (tmp_path / "stderr").open("w") as stderr, page(PARROT, "after", *options, cwd=tmp_path, stderr=stderr) as own:
        said = (tmp_path / "stderr").read_text()
        for _ in range(600):
            if "Ctrl-C" in said:
                break
            time.sleep(0.1)
            said = (tmp_path / "stderr").read_text()
        (password,) = re.findall(r"^password: (\S{16}) \(with any user name\)$", said, re.MULTILINE)
        assert "of `0.0.0.0` and has the password can talk to the model; nothing is encrypted" in said
        known = basic(password)
        for host in ("192.0.2.1:80", "[2001:db8::1]", "localhost:1", "gpu1.example.org", "0.0.0.0"):  # noqa: S104
            assert own.fetch("/", headers={"Host": host, **known})[0] == 200, host
            assert own.fetch("/", headers={"Host": host})[0] == 401, host
        for host in ("example.org", "gpu2.example.org", "gpu1.example.org.evil", "192.0.2.1.example.org"):
            assert own.fetch("/", headers={"Host": host, **known})[0] == 400, host
            assert own.fetch("/", headers={"Host": host, "Origin": f"http://{host}", **known})[0] == 400, host


def test_a_page_is_on_ipv6_as_well(training_python, page, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with page(PARROT, "before", "after", "--host", "::1", cwd=tmp_path) as own:
        assert own.ask("six") == "after, turn 1, You are a parrot. seed 0: hello"
        assert own.fetch("/", headers={"Host": "[2001:db8::1]"})[0] == 400


def half_requests(page, number):
    """Return so many connections that begin a request, and say no more."""
    sockets = []
    for _ in range(number):
        client = socket.create_connection((page.host, page.port), timeout=60)
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        sockets.append(client)
    return sockets


@pytest.mark.slow
def test_half_sent_requests_shut_nobody_out_and_are_ended(training_python, page, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # as a system may have it
    with (
        (tmp_path / "stderr").open("w") as stderr,
        page(PARROT, "before", "after", cwd=tmp_path, stderr=stderr) as own,
        ExitStack() as opened,
    ):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        helper = helper_of(own)
        limits = re.search(r"Max open files +(\d+) +(\d+)", (helper / "limits").read_text())
        assert int(limits[1]) == min(int(limits[2]), 65536)
        assert own.join("waits", "never ends")[0] == 200
        stream = opened.enter_context(socket.create_connection((own.host, own.port)))
        stream.sendall(b"GET /gradio_api/queue/data?session_hash=waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for half in half_requests(own, 1100):
            opened.enter_context(half)
        begun = time.monotonic()
        assert own.fetch()[0] == 200
        assert len([*(helper / "fd").iterdir()]) < 1000
        dripping = opened.enter_context(half_requests(own, 1)[0])
        idle = opened.enter_context(socket.create_connection((own.host, own.port)))
        with ThreadPoolExecutor(50) as clients:
            assert set(clients.map(lambda _: own.fetch()[0], range(50))) == {200}
        with suppress(OSError):
            while time.monotonic() - begun < 60 and dripping.send(b"."):
                time.sleep(1)
        assert 15 < time.monotonic() - begun < 60
        idle.settimeout(30)
        assert idle.recv(1) == b""
        stream.settimeout(30)
        assert b"process_generating" in stream.recv(1 << 20)  # what is answered stays
        deadline = time.monotonic() + 30
        while len([*(helper / "fd").iterdir()]) > 100:
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # IPv4 on a socket for both
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_wrong_passwords_and_connections_are_counted_by_whom_an_address_belongs_to(training_python, address, owner):
    asked = "import sys, web_connections; print(web_connections.address_owner(sys.argv[1]))"
    said = subprocess.run(
        [training_python, "-c", asked, address], cwd=SCRIPTS, stdout=subprocess.PIPE, check=True
    ).stdout
    assert said.decode().strip() == owner


def test_behind_a_proxy_that_changes_the_host_a_given_name_may_ask_and_another_is_told_what_to_do(
    training_python, page, tmp_path
):
    names = ["--allow-host", "GPU1.example.org", "--allow-host", "localhost", "--allow-host", "192.0.2.7"]
    with page(PARROT, "after", *names, cwd=tmp_path) as own:
        body = json.dumps({"data": ["hello", None, *GOOD], "fn_index": 0, "session_hash": "proxy"})
        for origin in ("https://gpu1.example.org", "http://gpu1.example.org:8443", "https://192.0.2.7"):
            assert own.fetch(JOIN, body, {"Origin": origin})[0] == 200, origin
        for origin in (
            "https://gpu2.example.org",
            "https://gpu1.example.org.evil",
            "https://evil@gpu1.example.org",
            "ftp://gpu1.example.org",
            "gpu1.example.org",
            "http://localhost:1",  # any page of this machine
            "http://192.0.2.8",
            "null",
        ):
            status, said = own.fetch(JOIN, body, {"Origin": origin})
            assert status == 404, origin
            assert "pass the Host header on, and give `--allow-host NAME`" in json.loads(said)["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [("Host: localhost", 413), ("Host: localhost\r\nOrigin: null", 404), ("Host: example.org", 400)],
    ids=["too large", "another origin", "another host"],
)
def test_oversized_request_on_a_closing_connection_is_refused_with_the_reason(parrot, headers, status):
    size = 10 << 20
    head = f"POST {JOIN} HTTP/1.1\r\n{headers}\r\nConnection: close\r\nContent-Length: {size}\r\n"
    first, rest = raw(parrot, f"{head}Content-Type: application/json\r\n\r\n".encode() + b" " * size)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert '{"detail":"' in rest
