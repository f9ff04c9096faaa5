"""Serve the chat page: a browser asks, ftbridge answers.

Runs inside the training environment: `python web_page.py SPEC` with SPEC as JSON: `socket` (an inherited file
descriptor that listens), `hosts` (the host names that it answers to; "*": all), `columns` (titles), `system` and
`sampling` (what the settings begin with). On stdout {"ready": true} once, then a line for each question: `id`,
`question`, `history` ([question, an answer or null for each column] pairs), `system`, `sampling`; {"stop": id} ends
its answer.
On stdin, for each question, lines {"id", "column", "text": piece} or {"id", "error": sentence}, and a last one
{"id", "end": true}. It ends with stdin.
"""

import html
import itertools
import json
import os
import queue
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import fastapi
import gradio as gr
import gradio.routes
import jinja2
import uvicorn
from gradio.components.chatbot import Message
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

WORDS = {
    "en": {
        "placeholder": "Ask something. Enter sends, Shift+Enter begins a new line.",
        "send": "Send",
        "stop": "Stop",
        "retry": "Retry",
        "reset": "Reset",
        "settings": "Settings",
        "system": "System prompt",
        "max_new_tokens": "Max new tokens",
        "temperature": "Temperature (0: always the likeliest token)",
        "top_k": "Top-k (0: off)",
        "top_p": "Top-p (1: off)",
        "repetition_penalty": "Repetition penalty (1: off)",
        "seed": "Seed",
        "question": "Question",
        "conversation": "Conversation",
        "before": "Before fine-tuning",
        "after": "After fine-tuning",
    },
    "zh": {
        "placeholder": "请输入问题。回车发送，Shift+回车换行。",
        "send": "发送",
        "stop": "停止",
        "retry": "重新回答",
        "reset": "清空对话",
        "settings": "设置",
        "system": "系统提示词",
        "max_new_tokens": "最大生成 token 数",
        "temperature": "温度（0：总取概率最大的 token）",
        "top_k": "Top-k（0：关闭）",
        "top_p": "Top-p（1：关闭）",
        "repetition_penalty": "重复惩罚（1：关闭）",
        "seed": "随机种子",
        "question": "问题",
        "conversation": "对话",
        "before": "微调前",
        "after": "微调后",
    },
}
# Least, most, step; None: no bound.
BOUNDS = {
    "max_new_tokens": (1, None, 1),
    "temperature": (0, None, 0.1),
    "top_k": (0, None, 1),
    "top_p": (0.01, 1, 0.01),
    "repetition_penalty": (0.01, None, 0.05),
    "seed": (0, None, 1),
}
# All that the page needs of Gradio's routes; the others read files, take uploads, and reach other machines.
PATHS = re.compile(
    r"/|/(config|theme\.css|manifest\.json|favicon\.ico|(assets|static)/.*)"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|startup-events|cancel|reset)/?"
)
# Gradio's own clear button would empty one column alone, and its footer offers to record the screen.
STYLE = ".message-content {white-space: pre-wrap} .icon-button-wrapper, footer {display: none !important}"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)


class Bridge:
    """The way to ftbridge: questions go out on stdout, pieces of answers come in on stdin."""

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        """Send with `write`."""
        self.write = write
        self.numbers = itertools.count()
        self.answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self.running: dict[str | None, int] = {}

    def ask(self, session: str | None, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the records of an answer; one that is left early is stopped."""
        number = next(self.numbers)
        self.answers[number] = queue.SimpleQueue()
        self.running[session] = number
        record: dict[str, Any] = {}
        try:
            self.write({"id": number, **request})
            while "end" not in (record := self.answers[number].get()):
                yield record
        finally:
            if "end" not in record:
                self.write({"stop": number})
            del self.answers[number]
            self.running.pop(session, None)

    def stop(self, session: str | None) -> None:
        """Stop the answer that `session` waits for."""
        if session in self.running:
            self.write({"stop": self.running[session]})

    def listen(self) -> None:
        """Hand out what comes in, and end the process with stdin."""
        for line in sys.stdin:
            record = json.loads(line)
            if answer := self.answers.get(record["id"]):
                answer.put(record)
        os._exit(0)


class Gate:
    """Lets through what the page needs, from the page itself, and tells the browser to load from here alone."""

    def __init__(self, app: Any) -> None:
        """Stand before `app`."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer one request."""

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        if scope["type"] == "http":
            headers = Headers(scope=scope)
            foreign = "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host")
            if foreign or not PATHS.fullmatch(scope["path"]):
                await PlainTextResponse("not here", 404)(scope, receive, send)
                return
        await self.app(scope, receive, sent)


def messages(history: list[Any], column: int) -> list[Message]:
    """Return a column for the chatbot to show letter by letter: it renders HTML, and takes away spaces of a dict."""
    found = []
    for question, answers in history:
        found.append(Message(role="user", content=html.escape(question)))
        if answers[column] is not None:
            found.append(Message(role="assistant", content=html.escape(answers[column])))
    return found


class Chat:
    """What the buttons do. Each answer to the page is a list: question, history, columns, buttons, seed."""

    def __init__(self, bridge: Bridge, columns: int, names: list[str]) -> None:
        """Talk over `bridge`; `names` are those of the settings, in the page's order."""
        self.bridge, self.columns, self.names = bridge, columns, names

    def shown(self, rows: list[Any], *, busy: bool, text: Any = None, seed: Any = None) -> list[Any]:
        """Return the page with `rows`; `text` and `seed` stay as they are where they are None."""
        chats = [messages(rows, column) for column in range(self.columns)]
        buttons = [gr.update(interactive=enabled) for enabled in (not busy, not busy, not busy, busy)]
        return [gr.skip() if text is None else text, rows, *chats, *buttons, gr.skip() if seed is None else seed]

    def answer(
        self, request: gr.Request, question: str, rows: list[Any], system: str, *values: Any
    ) -> Iterator[list[Any]]:
        """Ask, and show what comes; where it fails, the question goes back into its field."""
        question = question.strip()
        if not question:
            yield self.shown(rows, busy=False)
            return
        sampling = {name: value for name, value in zip(self.names, values, strict=True) if value is not None}
        body = {"question": question, "history": rows, "system": system, "sampling": sampling}
        answers: list[str | None] = [None] * self.columns
        rows, left = [*rows, (question, answers)], None
        yield self.shown(rows, busy=True, text="", seed=sampling.get("seed"))
        for record in self.bridge.ask(request.session_hash, body):
            if "error" in record:
                gr.Warning(html.escape(record["error"]))
                rows, left = rows[:-1], question
            else:
                answers[record["column"]] = (answers[record["column"]] or "") + record["text"]
            yield self.shown(rows, busy=True)
        yield self.shown(rows, busy=False, text=left)

    def again(self, request: gr.Request, rows: list[Any], system: str, *values: Any) -> Iterator[list[Any]]:
        """Ask the last question once more, with the next seed."""
        seed = self.names.index("seed")
        following = [*values[:seed], (values[seed] or 0) + 1, *values[seed + 1 :]]
        yield from self.answer(request, rows[-1][0] if rows else "", rows[:-1], system, *following)

    def reset(self) -> list[Any]:
        """Forget what was said."""
        return self.shown([], busy=False)

    def stop(self, request: gr.Request) -> None:
        """End the answer that is being written; what is there of it stays."""
        self.bridge.stop(request.session_hash)


def build(spec: dict[str, Any], bridge: Bridge) -> gr.Blocks:
    """Return the page."""
    words = gr.I18n(**WORDS)
    names = [name for name in BOUNDS if name in spec["sampling"]]
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    plain: Any = {"type": "messages", "render_markdown": False, "latex_delimiters": [], "height": "68vh"}
    with gr.Blocks(title="ftbridge chat", theme=theme, css=STYLE, analytics_enabled=False, fill_height=True) as page:
        history = gr.State([])
        with gr.Row(scale=1):
            titles = spec["columns"] if len(spec["columns"]) > 1 else ["conversation"]
            columns = [gr.Chatbot(label=words(title), **plain) for title in titles]
        question = gr.Textbox(
            label=words("question"), show_label=False, placeholder=words("placeholder"), max_lines=8, autofocus=True
        )
        with gr.Row():
            send, retry, reset = (gr.Button(words(name)) for name in ("send", "retry", "reset"))
            stop = gr.Button(words("stop"), interactive=False)
        with gr.Accordion(words("settings"), open=False):
            system = gr.Textbox(spec["system"], label=words("system"), max_lines=8)
            with gr.Row():
                settings = [setting(words(name), spec["sampling"][name], *BOUNDS[name]) for name in names]
        chat = Chat(bridge, len(columns), names)
        changed = [question, history, *columns, send, retry, reset, stop, settings[names.index("seed")]]
        asking: Any = {"outputs": changed, "concurrency_id": "model", "show_progress_on": columns}
        at_once: Any = {"concurrency_limit": None, "show_progress": "hidden"}
        gr.on([question.submit, send.click], chat.answer, [question, history, system, *settings], **asking)
        retry.click(chat.again, [history, system, *settings], **asking)
        reset.click(chat.reset, None, changed, **at_once)
        stop.click(chat.stop, None, None, **at_once)
    page.i18n_instance = words
    return page


def setting(label: Any, value: float, least: float, most: float | None, step: float) -> gr.Number:
    """Return the field of a sampling setting; one of whole steps takes whole numbers."""
    whole = {"precision": 0} if step == 1 else {}
    return gr.Number(value, label=label, minimum=least, maximum=most, step=step, min_width=180, **whole)


class Server(uvicorn.Server):
    """Says when the page answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        """Call `ready` once it does."""
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.ready()


def main() -> None:
    """Serve until stdin ends; libraries that print do so on stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def write(record: dict[str, Any]) -> None:
        with lock:
            stream.write(json.dumps(record) + "\n")
            stream.flush()

    spec = json.loads(sys.argv[1])
    bridge = Bridge(write)
    page = build(spec, bridge)
    app = gr.mount_gradio_app(fastapi.FastAPI(), page, "/", show_api=False, ssr_mode=False, pwa=False, mcp_server=False)
    app.add_middleware(Gate)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=spec["hosts"], www_redirect=False)
    # Gradio's own page fetches a script and opens connections to font servers.
    templates = gradio.routes.templates.env
    source, *_ = templates.loader.get_source(templates, "frontend/index.html")
    local = re.sub(r"<(link|meta|script)\b[^>]*https://[^>]*>(\s*</script>)?", "", source)
    templates.loader = jinja2.DictLoader({"frontend/index.html": local})
    threading.Thread(target=bridge.listen, daemon=True).start()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    Server(config, lambda: write({"ready": True})).run([socket.socket(fileno=spec["socket"])])


if __name__ == "__main__":
    main()
