"""A browser for the page, and pages to ask."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PARROT = Path(__file__).with_name("parrot_page.py")
VALUES = ["You are a parrot.", 3, 0, 40, 0.75, 1, 0]  # system prompt and settings


class Page:
    """A page that is asked as browsers do."""

    def __init__(self, process, address):
        self.process, self.address = process, address
        where = urlsplit(address)
        self.host, self.port = where.hostname, where.port

    @property
    def answers(self):
        """Return whether something listens there."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as client:
            return client.connect_ex((self.host, self.port)) == 0

    def fetch(self, path="/", body=None, headers=None):
        """Return the status and the body of a page, or of an answer to a POST."""
        with closing(HTTPConnection(self.host, self.port, timeout=120)) as connection:
            given = {"Content-Type": "application/json"} | (headers or {})
            connection.request("GET" if body is None else "POST", path, body, given)
            response = connection.getresponse()
            return response.status, response.read()

    def join(self, session, question="hello", values=VALUES, fn_index=0):
        """Ask, and return the status and what is said to it; the answer comes in `stream`."""
        body = {"data": [question, None, *values], "fn_index": fn_index, "session_hash": session}
        status, said = self.fetch("/gradio_api/queue/join", json.dumps(body))
        return status, json.loads(said)

    def stream(self, session, headers=None):
        """Return the messages of a session, until its answers are complete."""
        status, said = self.fetch(f"/gradio_api/queue/data?session_hash={session}", headers=headers)
        assert status == 200
        return [json.loads(line.removeprefix(b"data: ")) for line in said.splitlines() if line]

    def ask(self, session, question="hello"):
        """Return what the last column answers."""
        assert self.join(session, question)[0] == 200
        (last,) = [message for message in self.stream(session) if message["msg"] == "process_completed"]
        assert last["success"]
        rows = last["output"]["data"][1 + len(self.columns)]
        return rows[-1]["content"]

    columns = ("before", "after")


@pytest.fixture(scope="session")
def page():
    """Return a function that starts a page; in its `with` block it is a Page, once it answers."""

    @contextmanager
    def start(*arguments, cwd, stderr=None):
        with subprocess.Popen(
            [sys.executable, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process:
            try:
                address = process.stdout.readline().strip()
                assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):\d+", address)
                yield Page(process, address)
            finally:
                process.kill()

    return start


@pytest.fixture(scope="module")
def parrot(training_python, page, tmp_path_factory):
    """Return a page with two parrots; Ctrl-C ends it in the end."""
    folder = tmp_path_factory.mktemp("page")
    with page(PARROT, "before", "after", cwd=folder) as started:
        started.folder = folder
        yield started
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(timeout=120) == 0
        assert not started.answers
