"""A server on this machine that speaks the protocols of Hugging Face and of ModelScope, as their clients use them."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

MAIN = {"main", "master"}


class HubServer(ThreadingHTTPServer):
    """Serves `folder/<owner>/<name>`, and revisions other than main from `folder/<owner>/<name>@<revision>`.

    `closed` is the status and error code that every answer has, where it is set, and `answer` the JSON that takes the
    place of every other; `asked` are the paths of files, `named` are files that are listed beside those that are there.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.closed: tuple[int, str] | None = None
        self.answer = ""
        self.asked: list[str] = []
        self.named: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def root(self, name: str, revision: str) -> Path:
        """Return the folder of a revision; a commit is the hash of what main or a revision is called."""
        for root in self.folder.glob(f"{name}*"):
            called = root.name.partition("@")[2]
            if revision in {called.replace("%", "/"), commit(root)} or (not called and revision in MAIN):
                return root
        return self.folder / name / "no such revision"

    def add(self, name: str, revision: str = "") -> Path:
        """Return the folder for the files of a repository, made now."""
        folder = self.folder / (name + (f"@{revision.replace('/', '%')}" if revision else ""))
        folder.mkdir(parents=True)
        return folder


class Handler(BaseHTTPRequestHandler):
    """Answers for `HubServer`."""

    server: HubServer

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        url = urlsplit(self.path)
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.closed:
            return self.refuse(*self.server.closed)
        # What the clients ask for: a repository, the list of its files, one of them; the same of ModelScope.
        for pattern, respond in (
            (r"/api/(?:models|datasets)/(?P<name>\w+/[\w.-]+)(?:/revision/(?P<revision>.+))?", self.info),
            (r"/api/(?:models|datasets)/(?P<name>\w+/[\w.-]+)/tree/(?P<revision>[^/]+)", self.tree),
            (r"(?:/datasets)?/(?P<name>\w+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self.file),
            (r"/api/v1/(?:models|datasets)/(?P<name>\w+/[\w.-]+)/repo/(?:tree|files)", self.modelscope_tree),
            (r"/api/v1/(?:models|datasets)/(?P<name>\w+/[\w.-]+)/repo", self.file),
        ):
            if match := re.fullmatch(pattern, url.path):
                asked = {key: unquote(value) for key, value in match.groupdict().items() if value}
                asked |= {key.lower(): values[0] for key, values in parse_qs(url.query).items()}
                root = self.server.root(asked["name"], asked.get("revision", "main"))
                return respond(root, asked, with_body=with_body)
        return self.refuse(404, "")

    def info(self, root: Path, asked: dict[str, str], *, with_body: bool) -> None:
        files = [{"rfilename": name} for name, _ in self.listed(root)]
        answer = {"id": asked["name"], "sha": commit(root), "siblings": files}
        self.reply(root, json.dumps(answer).encode(), with_body=with_body)

    def tree(self, root: Path, _: dict[str, str], *, with_body: bool) -> None:
        files = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in self.listed(root)]
        self.reply(root, json.dumps(files).encode(), with_body=with_body)

    def modelscope_tree(self, root: Path, _: dict[str, str], *, with_body: bool) -> None:
        files = [{"Path": name, "Size": size, "Type": "blob"} for name, size in self.listed(root)]
        self.reply(root, json.dumps({"Code": 200, "Data": {"Files": files}}).encode(), with_body=with_body)

    def listed(self, root: Path) -> list[tuple[str, int]]:
        return listed(root) + [(name, 9) for name in self.server.named]

    def file(self, root: Path, asked: dict[str, str], *, with_body: bool) -> None:
        name = asked.get("file") or asked["filepath"]
        if with_body:
            self.server.asked.append(name)
        if (root / name).is_file():
            self.reply(root, (root / name).read_bytes(), with_body=with_body)
        else:
            self.refuse(404, "EntryNotFound")

    def reply(self, root: Path, data: bytes, *, with_body: bool) -> None:
        if not root.is_dir():
            self.refuse(404, "RevisionNotFound" if root.parent.is_dir() else "RepoNotFound")
            return
        data = self.server.answer.encode() or data
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit(root))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def commit(root: Path) -> str:
    return hashlib.sha1(root.name.encode(), usedforsecurity=False).hexdigest()


def listed(root: Path) -> list[tuple[str, int]]:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return [(file.relative_to(root).as_posix(), file.stat().st_size) for file in files]


@contextmanager
def hub_server(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a server whose address stands in the clients' variables, as do caches of their own."""
    server = HubServer(folder / "served")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(folder / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(folder / "ms cache"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(folder / "ms home"))
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
