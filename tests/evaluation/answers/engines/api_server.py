"""A server that speaks as OpenAI's, or that does whatever a test wants of it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Asked(BaseHTTPRequestHandler):
    """A request, and ways to reply to it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._reply_as_told(None)

    def do_POST(self):
        self._reply_as_told(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply_as_told(self, body):
        self.body = body
        with self.server.lock:
            self.server.requests.append(self)
            self.number = len(self.server.requests)
        self.server.behave(self)

    def say(self, status, body, kind="application/json", **headers):
        """Reply with a status and a body, which is JSON where it is no bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self, content, finish="stop", **message):
        """Reply as a server that has answered."""
        choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        self.say(200, {"id": "1", "object": "chat.completion", "choices": [choice], "usage": {}})

    def parrot(self):
        """List one model, and answer each question by itself."""
        if self.body is None:
            self.say(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        else:
            self.answer(self.body["messages"][-1]["content"])

    def log_message(self, *_):
        pass


class ApiServer(ThreadingHTTPServer):
    """It keeps the `requests` that it got."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behave):
        super().__init__(("127.0.0.1", 0), Asked)
        self.behave, self.requests, self.lock = behave, [], threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_port}/v1"
        self.over = threading.Event()

    def handle_error(self, *_):
        """A client that has gone is what some tests want."""


@contextmanager
def serving(behave=Asked.parrot):
    """Yield a server that does `behave` with each request."""
    with ApiServer(behave) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
