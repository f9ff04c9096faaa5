"""Serve the chat page: a browser asks, ftbridge answers.

Runs inside the training environment: `python web_page.py`, with a first line on stdin, as JSON: `socket` (an inherited
file descriptor that listens), `names`, `origins`, `open` and `password` (whom the Gate lets in), `columns` (titles),
`about` (run and model for the head of the page, each may be empty),
`system` and `sampling` (what the settings begin with), `bounds` (of each of them). On stdout {"ready": true} once, then
a line for each question: `id`, `question`, `history` ([question, an answer or null for each column] pairs), `system`,
`sampling`; {"stop": id} ends its answer.
On stdin, for each question, lines {"id", "column", "text": piece} or {"id", "error": sentence}, and a last one
{"id", "end": true}. It ends with stdin.
"""

import html
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import gradio as gr
import gradio.routes
import jinja2
import uvicorn
from gradio.components.chatbot import Message
from web_bridge import Bridge
from web_connections import BACKLOG, Connection, Server, raise_file_limit
from web_gate import Field, Gate

TRANSLATIONS = {
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
STEPS = {"max_new_tokens": 1, "temperature": 0.1, "top_k": 1, "top_p": 0.01, "repetition_penalty": 0.05, "seed": 1}
SEEDS = 1 << 32
MOST_KEPT = 1_000_000  # characters of a conversation: all of it goes to the page with each piece of an answer
MOST_AT_ONCE = 1000  # questions that wait, of all sessions
# Gradio's own clear button would empty one column alone, and its footer offers to record the screen.
STYLE = ".message-content {white-space: pre-wrap} .icon-button-wrapper, footer {display: none !important}"


def chatbot_messages(history: list[Any], column: int) -> list[Message]:
    """Return a column for the chatbot to show letter by letter: it renders HTML, and takes away spaces of a dict."""
    found = []
    for question, answers in history:
        found.append(Message(role="user", content=html.escape(question)))
        if answers[column] is not None:
            found.append(Message(role="assistant", content=html.escape(answers[column])))
    return found


class Chat:
    """What the buttons do. Each answer to the page is a list of values: question, history, columns, buttons, seed."""

    def __init__(self, bridge: Bridge, columns: int, names: list[str]) -> None:
        """Talk over `bridge`; `names` are those of the settings, in the page's order."""
        self.bridge, self.columns, self.names = bridge, columns, names

    def page_values(self, rows: list[Any], *, busy: bool, text: Any = None, seed: Any = None) -> list[Any]:
        """Return the values of the page that shows `rows`; `text` and `seed` stay as they are where they are None."""
        columns = [chatbot_messages(rows, column) for column in range(self.columns)]
        buttons = [gr.update(interactive=enabled) for enabled in (not busy, not busy, not busy, busy)]
        return [gr.skip() if text is None else text, rows, *columns, *buttons, gr.skip() if seed is None else seed]

    async def answer(
        self, request: gr.Request, question: str, rows: list[Any], system: str, *values: Any
    ) -> AsyncIterator[list[Any]]:
        """Yield the page with each piece of the answer; where that fails, the question goes back into its field."""
        question = question.strip()
        if not question:
            yield self.page_values(rows, busy=False)
            return
        if sum(len(asked) + sum(map(len, filter(None, answers))) for asked, answers in rows) > MOST_KEPT:
            gr.Warning("this conversation is too long for the page; Reset begins a new one")
            yield self.page_values(rows, busy=False)
            return
        sampling = {name: value for name, value in zip(self.names, values, strict=True) if value is not None}
        body = {"question": question, "history": rows, "system": system, "sampling": sampling}
        answers: list[str | None] = [None] * self.columns
        rows, left = [*rows, (question, answers)], None
        yield self.page_values(rows, busy=True, text="", seed=sampling.get("seed"))
        async for record in self.bridge.ask(str(request.session_hash), body):
            if "error" in record:
                gr.Warning(html.escape(record["error"]))
                rows, left = rows[:-1], question
            else:
                answers[record["column"]] = (answers[record["column"]] or "") + record["text"]
            yield self.page_values(rows, busy=True)
        yield self.page_values(rows, busy=False, text=left)

    async def ask_again(
        self, request: gr.Request, rows: list[Any], system: str, *values: Any
    ) -> AsyncIterator[list[Any]]:
        """Ask the last question once more, with the next seed."""
        seed = self.names.index("seed")
        following = [*values[:seed], ((values[seed] or 0) + 1) % SEEDS, *values[seed + 1 :]]
        async for shown in self.answer(request, rows[-1][0] if rows else "", rows[:-1], system, *following):
            yield shown

    async def reset(self) -> list[Any]:
        """Return the page with an empty conversation."""
        return self.page_values([], busy=False)

    async def stop(self, request: gr.Request) -> None:
        """End the answer that is being written; what is there of it stays."""
        self.bridge.stop(str(request.session_hash))


def build_page(spec: dict[str, Any], bridge: Bridge) -> tuple[gr.Blocks, dict[int, list[Field | None]]]:
    """Return the page, and the fields that each of its functions is given (None: what the page keeps itself)."""
    translated = gr.I18n(**TRANSLATIONS)
    names = [name for name in STEPS if name in spec["sampling"]]
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    plain: Any = {"type": "messages", "render_markdown": False, "latex_delimiters": [], "height": "68vh"}
    title = " · ".join(filter(None, spec["about"]))
    with gr.Blocks(
        title=f"{title} · ftbridge chat", theme=theme, css=STYLE, analytics_enabled=False, fill_height=True
    ) as page:
        history = gr.State([])
        head = gr.HTML(head_html(title, spec["system"]))
        with gr.Row(scale=1):
            titles = spec["columns"] if len(spec["columns"]) > 1 else ["conversation"]
            columns = [gr.Chatbot(label=translated(title), **plain) for title in titles]
        question = gr.Textbox(
            "",
            label=translated("question"),
            show_label=False,
            placeholder=translated("placeholder"),
            max_lines=8,
            autofocus=True,
        )
        with gr.Row():
            send = gr.Button(translated("send"), variant="primary")
            retry, reset = (gr.Button(translated(name)) for name in ("retry", "reset"))
            stop = gr.Button(translated("stop"), interactive=False)
        with gr.Accordion(translated("settings"), open=False):
            system = gr.Textbox(spec["system"], label=translated("system"), max_lines=8)
            with gr.Row():
                settings = [
                    sampling_field(translated(name), spec["sampling"][name], spec["bounds"][name], STEPS[name])
                    for name in names
                ]
        chat = Chat(bridge, len(columns), names)
        changed = [question, history, *columns, send, retry, reset, stop, settings[names.index("seed")]]
        # The bridge lets one after another ask; Gradio's own queue would let a session go before all others.
        asking: Any = {"outputs": changed, "concurrency_limit": None, "show_progress_on": columns}
        at_once: Any = {"concurrency_limit": None, "show_progress": "hidden"}
        gr.on([question.submit, send.click], chat.answer, [question, history, system, *settings], **asking)
        retry.click(chat.ask_again, [history, system, *settings], **asking)
        reset.click(chat.reset, None, changed, **at_once)
        stop.click(chat.stop, None, None, **at_once)
        system.blur(lambda text: head_html(title, text), [system], [head], **at_once)
    page.i18n_instance = translated
    page.max_threads = MOST_AT_ONCE
    page.queue(max_size=MOST_AT_ONCE)
    labels = TRANSLATIONS["en"]
    fields = {question._id: Field(labels["question"]), system._id: Field(labels["system"])}  # noqa: SLF001
    for name, block in zip(names, settings, strict=True):
        label, _, _ = labels[name].partition(" (")
        fields[block._id] = Field(label, spec["bounds"][name])  # noqa: SLF001
    given = {number: [fields.get(block._id) for block in fn.inputs] for number, fn in page.fns.items()}  # noqa: SLF001
    return page, given


def head_html(title: str, system: str) -> str:
    """Return the head of the page: run and model, and the system prompt below."""
    return f"<b>{html.escape(title)}</b><div style='white-space: pre-wrap; opacity: 0.7'>{html.escape(system)}</div>"


def sampling_field(label: Any, value: float, bounds: tuple[float, float], step: float) -> gr.Number:
    """Return the field of a sampling setting; one of whole steps takes whole numbers, others count from 0 on."""
    whole = {"precision": 0} if step == 1 else {}
    least, most = bounds[0] if whole else 0, bounds[1]
    return gr.Number(value, label=label, minimum=least, maximum=most, step=step, min_width=180, **whole)


class PageServer(Server):
    """Says when the page answers."""

    def __init__(self, config: uvicorn.Config, bridge: Bridge) -> None:
        """Say it over `bridge`."""
        super().__init__(config)
        self.bridge = bridge

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.bridge.begin()
        self.bridge.write({"ready": True})


def main() -> None:
    """Serve until stdin ends; libraries that print do so on stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record, allow_nan=False) + "\n")
        stream.flush()

    spec = json.loads(sys.stdin.buffer.readline())
    bridge = Bridge(write)
    page, inputs = build_page(spec, bridge)
    app = gr.mount_gradio_app(fastapi.FastAPI(), page, "/", show_api=False, ssr_mode=False, pwa=False, mcp_server=False)
    # Gradio's own page fetches a script and opens connections to font servers.
    templates = gradio.routes.templates.env
    source, *_ = templates.loader.get_source(templates, "frontend/index.html")
    local = re.sub(r"<(link|meta|script)\b[^>]*https://[^>]*>(\s*</script>)?", "", source)
    templates.loader = jinja2.DictLoader({"frontend/index.html": local})
    gate = Gate(app, bridge, inputs, spec)
    # Headers of a proxy would name another client than the one that guesses passwords.
    config = uvicorn.Config(
        gate,
        http=Connection,
        backlog=BACKLOG,
        log_level="error",
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    raise_file_limit()
    PageServer(config, bridge).run([socket.socket(fileno=spec["socket"])])


if __name__ == "__main__":
    main()
