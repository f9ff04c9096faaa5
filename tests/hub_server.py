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
# What the clients ask for: the repository itself, the list of its files, one of them.
INFO = re.compile(r"/api/(?:models|datasets)/(\w+/[\w.-]+)(?:/revision/(.+))?")
TREE = re.compile(r"/api/(?:models|datasets)/(\w+/[\w.-]+)/tree/([^/]+)")
FILE = re.compile(r"(?:/datasets)?/(\w+/[\w.-]+)/resolve/([^/]+)/(.+)")
MODELSCOPE = re.compile(r"/api/v1/datasets/(\w+/[\w.-]+)/repo(/tree)?")


class HubServer(ThreadingHTTPServer):
    """Serves `folder/<owner>/<name>`, and revisions other than main from `folder/<owner>/<name>@<revision>`.

    `closed` is the status and error code that every answer has, where it is set; `asked` are the paths of files.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.closed: tuple[int, str] | None = None
        self.asked: list[str] = []
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
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.closed:
            return self.refuse(*self.server.closed)
        if match := MODELSCOPE.fullmatch(url.path):
            root = self.server.root(match[1], query["Revision"])
            if match[2]:
                files = [{"Path": name, "Size": size, "Type": "blob"} for name, size in listed(root)]
                return self.reply(root, json.dumps({"Code": 200, "Data": {"Files": files}}).encode(), with_body)
            return self.file(root, query["FilePath"], with_body)
        if match := INFO.fullmatch(url.path):
            root = self.server.root(match[1], unquote(match[2] or "main"))
            files = [{"rfilename": name} for name, _ in listed(root)]
            info = {"id": match[1], "sha": commit(root), "siblings": files}
            return self.reply(root, json.dumps(info).encode(), with_body)
        if match := TREE.fullmatch(url.path):
            root = self.server.root(match[1], unquote(match[2]))
            tree = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in listed(root)]
            return self.reply(root, json.dumps(tree).encode(), with_body)
        if match := FILE.fullmatch(url.path):
            return self.file(self.server.root(match[1], unquote(match[2])), unquote(match[3]), with_body)
        return self.refuse(404, "")

    def file(self, root: Path, name: str, with_body: bool) -> None:
        if with_body:
            self.server.asked.append(name)
        if not (root / name).is_file():
            return self.refuse(404, "EntryNotFound")
        return self.reply(root, (root / name).read_bytes(), with_body)

    def reply(self, root: Path, data: bytes, with_body: bool) -> None:
        if not root.is_dir():
            return self.refuse(404, "RevisionNotFound" if root.parent.is_dir() else "RepoNotFound")
        total = len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if wanted:
            data = data[int(wanted[1]) : int(wanted[2] or total) + 1]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {wanted[1]}-{int(wanted[1]) + len(data) - 1}/{total}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit(root))
        self.end_headers()
        if with_body:
            self.wfile.write(data)
        return None

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
