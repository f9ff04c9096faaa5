"""`ftbridge chat --web`: the page in a real browser, and what ends it."""

import json
import os
import signal
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, SetupError, UsageError
from ftbridge.core.project import Project, Settings
from ftbridge.dialogue import web
from ftbridge.dialogue.generation import Sampling, refuse_half_characters
from ftbridge.dialogue.web import serve
from ftbridge.experiments.demo import SETTINGS, base_model
from ftbridge.launchers.process import script

# A model with two layers learns this conversation by heart in a minute.
TAUGHT = {
    "阿司匹林有什么用？": "阿司匹林可以缓解轻度疼痛，还能退烧。",
    "How should insulin be stored?": "Keep unopened insulin in the refrigerator and never freeze it.",
}
TINY = {"hidden": 128, "layers": 2}
ROLES = ("user", "assistant")
ROOT = Path(__file__).parents[2]
PATIENCE = 120_000  # milliseconds that a slow machine gets to show what is expected
PARROT = Path(__file__).with_name("parrot_page.py")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - on purpose


def children(process):
    """Return the folders in /proc of the process's children."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path("/proc") / pid for pid in listed]


class Tab:
    """A tab with the page, as a person sees it."""

    def __init__(self, browser, address, locale="en-US", credentials=None):
        from playwright.sync_api import expect

        self.address, self.expect = address, expect
        expect.set_options(timeout=PATIENCE)  # 5 s else
        size = {"width": 1000, "height": 700}
        self.page = browser.new_page(locale=locale, viewport=size, http_credentials=credentials)
        self.requests, self.trouble = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("console", lambda entry: entry.type == "error" and self.trouble.append(entry.text))
        self.page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        self.page.goto(address)
        self.question = self.page.get_by_role("textbox").first
        self.columns = self.page.get_by_role("log")

    def ask(self, question):
        self.question.click()
        self.page.keyboard.insert_text(question)
        self.page.keyboard.press("Enter")

    def button(self, name):
        return self.page.get_by_role("button", name=name)

    def press(self, name):
        self.button(name).click()

    def bot(self, column):
        return self.columns.nth(column).get_by_test_id("bot")

    def close(self):
        self.page.close()
        assert [url for url in self.requests if not url.startswith((self.address, "data:"))] == []
        assert self.trouble == []


@pytest.fixture
def tab(browser, parrot):
    """Return a tab with the parrots' page in English; what it asks for stays on this machine."""
    opened = Tab(browser, parrot.address)
    yield opened
    opened.close()


@pytest.mark.framework
@pytest.mark.parametrize(
    ("locale", "titles", "send"),
    [("en-US", ["Before fine-tuning", "After fine-tuning"], "Send"), ("zh-CN", ["微调前", "微调后"], "发送")],
)
def test_page_answers_in_both_columns_in_chinese_and_english(browser, parrot, locale, titles, send):
    tab = Tab(browser, parrot.address, locale)
    for title in titles:
        tab.expect(tab.page.get_by_text(title)).to_be_visible()
    tab.ask("阿司匹林有什么用？")
    for column, title in enumerate(["before", "after"]):
        said = f"{title}, turn 1, You are a parrot. seed 0: 阿司匹林有什么用？"
        tab.expect(tab.bot(column)).to_have_text(said)
    tab.question.fill("what is aspirin for")
    tab.press(send)
    tab.expect(tab.bot(1).nth(1)).to_have_text("after, turn 2, You are a parrot. seed 0: what is aspirin for")
    tab.close()


@pytest.mark.framework
def test_page_names_run_model_and_system_prompt_and_has_one_settings_button(tab):
    tab.expect(tab.page).to_have_title("20261129-<b> · base · ftbridge chat")
    tab.expect(tab.page.get_by_text("20261129-<b> · base", exact=True)).to_be_visible()
    tab.expect(tab.page.get_by_text("You are a parrot.", exact=True)).to_be_visible()
    assert "primary" in tab.button("Send").get_attribute("class").split()
    assert "primary" not in tab.button("Retry").get_attribute("class").split()
    assert tab.page.get_by_text("Settings").locator("visible=true").count() == 1
    tab.press("Settings")
    tab.page.get_by_label("System prompt").fill("Be brief.")
    tab.question.click()
    tab.expect(tab.page.get_by_text("Be brief.", exact=True).first).to_be_visible()


@pytest.mark.framework
def test_answer_with_markup_is_shown_as_text(tab):
    said = "<img src=x onerror=alert(1)> <b>bold</b> **stars** $$x$$\n  <think>two  spaces</think> `a&amp;b`"
    tab.ask(said)
    tab.expect(tab.bot(1)).to_have_text(f"after, turn 1, You are a parrot. seed 0: {said}", use_inner_text=True)
    assert tab.bot(1).locator("img, b, code").count() == 0


# What would run, or become markup, wherever a page takes text for HTML, Markdown, LaTeX or a template.
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)></svg>"
    "<iframe srcdoc='<script>alert(4)</script>'></iframe></textarea></script><script>alert(5)</script>"
    "<a href='javascript:alert(6)'>a</a> [m](javascript:alert(7)) ![i](x) **b** `c` $$x^2$$ \\(y\\) "
    "&lt;u&gt; &amp;#60; {{7*7}} ${alert(8)} <!-- - <style>*{display:none}</style>"
)


@pytest.mark.framework
def test_neither_question_nor_answer_system_prompt_nor_title_becomes_markup(browser, training_python, page, tmp_path):
    with page(PARROT, HOSTILE, "after", "--system", HOSTILE, cwd=tmp_path) as started:
        tab = Tab(browser, started.address)
        tab.ask(HOSTILE)
        for column, title in enumerate([HOSTILE, "after"]):
            said = f"{title}, turn 1, {HOSTILE} seed 0: {HOSTILE}"
            tab.expect(tab.bot(column)).to_have_text(said, use_inner_text=True)
            tab.expect(tab.columns.nth(column).get_by_test_id("user")).to_have_text(HOSTILE, use_inner_text=True)
        tab.expect(tab.page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
        tab.press("Settings")
        tab.expect(tab.page.get_by_label("System prompt")).to_have_value(HOSTILE)
        made = "img[src='x'], iframe[srcdoc], svg[onload], a[href^='javascript'], .katex, [role=log] :is(b, code)"
        assert [found.evaluate("found => found.outerHTML") for found in tab.page.locator(made).all()] == []
        tab.close()  # where no dialog was opened and no error met


@pytest.mark.framework
def test_question_with_half_an_emoji_is_refused_and_the_page_goes_on(tab):
    tab.question.fill("hello")
    tab.question.evaluate(
        "field => { field.value = 'x\\ud83d'; field.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    tab.press("Send")
    tab.expect(tab.page.get_by_role("alert")).to_contain_text(
        r"Question holds an invalid character ('\ud83d'); delete it"
    )
    assert [trouble for trouble in tab.trouble if "400" not in trouble] == []
    tab.trouble.clear()
    tab.question.fill("hello")
    tab.press("Send")
    tab.expect(tab.bot(1)).to_have_text("after, turn 1, You are a parrot. seed 0: hello")


@pytest.mark.framework
def test_the_page_asks_a_browser_for_its_password(browser, training_python, page, tmp_path):
    with page(PARROT, "after", "--password", "回声 and:more", cwd=tmp_path) as started:
        tab = Tab(browser, started.address, credentials={"username": "any", "password": "回声 and:more"})
        tab.ask("hello")
        tab.expect(tab.bot(0)).to_have_text("after, turn 1, You are a parrot. seed 0: hello")
        tab.trouble = [trouble for trouble in tab.trouble if "401" not in trouble]  # how it asks
        tab.close()


@pytest.mark.framework
def test_settings_reach_the_model_and_retry_takes_the_next_seed(tab):
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.get_by_label("System prompt").fill("你是鹦鹉。")
    tab.page.get_by_label("Seed").fill("7")
    tab.ask("one")
    tab.expect(tab.bot(1)).to_have_text("after, turn 1, 你是鹦鹉。 seed 7: one")
    tab.press("Retry")
    tab.expect(tab.bot(1)).to_have_text("after, turn 1, 你是鹦鹉。 seed 8: one")
    tab.page.get_by_label("Top-p").fill("2")
    tab.ask("two")
    tab.expect(tab.page.get_by_role("alert")).to_contain_text("Top-p must be a number from 0.0001 to 1.0")
    tab.expect(tab.question).to_have_value("two")
    assert [trouble for trouble in tab.trouble if "400" not in trouble] == []
    tab.trouble.clear()


@pytest.mark.framework
def test_an_answer_is_stopped_and_stays_and_reset_forgets_all(tab):
    tab.ask("never ends")
    tab.expect(tab.bot(0)).to_contain_text("and on and on")
    tab.press("Stop")
    tab.expect(tab.button("Send")).to_be_enabled()
    tab.expect(tab.bot(1)).to_have_count(0)
    tab.ask("next")
    tab.expect(tab.bot(0).nth(1)).to_have_text("before, turn 2, You are a parrot. seed 0: next")
    tab.expect(tab.bot(1)).to_have_text("after, turn 1, You are a parrot. seed 0: next")
    tab.expect(tab.button("Reset")).to_be_enabled()
    tab.press("Reset")
    tab.expect(tab.bot(0)).to_have_count(0)
    tab.ask("again")
    tab.expect(tab.bot(1)).to_have_text("after, turn 1, You are a parrot. seed 0: again")


@pytest.mark.framework
def test_an_error_is_shown_as_text_and_the_question_comes_back(tab):
    tab.ask("too long")
    tab.expect(tab.page.get_by_role("alert")).to_contain_text("the model takes <b>5</b> tokens")
    tab.expect(tab.question).to_have_value("too long")
    tab.expect(tab.bot(0)).to_have_count(0)


@pytest.mark.framework
def test_conversations_of_two_tabs_do_not_mix(browser, parrot, tab):
    other = Tab(browser, parrot.address)
    tab.ask("never ends")
    other.ask("hello")
    tab.expect(tab.bot(0)).to_contain_text("and on and on")
    tab.press("Stop")
    tab.expect(other.bot(1)).to_have_text("after, turn 1, You are a parrot. seed 0: hello")
    tab.ask("never ends")
    tab.expect(tab.bot(0).nth(1)).to_contain_text("before, turn 2")
    tab.close()  # and nobody waits for its answer any more
    other.ask("and now")
    tab.expect(other.bot(1).nth(1)).to_have_text("after, turn 2, You are a parrot. seed 0: and now")
    other.close()


@pytest.mark.framework
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/gradio_api/file=/etc/hostname", {}, 404),
        ("/gradio_api/upload", {}, 404),
        ("/gradio_api/info", {}, 404),
        ("/", {"Origin": "http://example.org"}, 404),
        ("/", {"Host": "example.org"}, 400),
    ],
)
def test_paths_and_origins_other_than_the_page_are_not_served(parrot, path, headers, status):
    found, body = parrot.fetch(path, headers=headers)
    assert found == status
    assert b"https://" not in body


@pytest.mark.framework
def test_a_killed_ftbridge_leaves_no_page(training_python, page, tmp_path):
    with page(PARROT, "after", cwd=tmp_path) as started:
        assert rb"\"conversation\"" in started.fetch()[1]
        started.process.kill()
        started.process.wait()
        deadline = time.monotonic() + 120
        while started.answers:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_port_in_use_is_refused_and_an_unnamed_port_is_the_next_free(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} of `127.0.0.1` is in use; name another"):
            web._listen("127.0.0.1", port)
        monkeypatch.setattr(web, "PORTS", range(port, port + 50))
        with web._listen("127.0.0.1", None) as found:
            assert found.getsockname()[1] > port
        monkeypatch.setattr(web, "PORTS", range(port, port + 1))
        with pytest.raises(UsageError, match=f"no port from {port} to {port} is free"):
            web._listen("127.0.0.1", None)


def test_page_on_an_address_of_another_machine_is_refused():
    with pytest.raises(UsageError, match=r"cannot be on `192\.0\.2\.1` with port 7860 \(Cannot assign"):
        web._listen("192.0.2.1", None)


@pytest.mark.parametrize("host", ["255.255.255.255", "127.255.255.255", "224.0.0.1"])
def test_broadcast_or_multicast_address_for_the_page_is_refused(host):
    with pytest.raises(UsageError, match=rf"`{host}` is an address of many machines"):
        web._listen(host, None)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("host", [EVERYWHERE, "0", "::", "0::0"])
def test_the_address_of_a_page_on_all_addresses_is_one_that_answers(monkeypatch, host, both):
    if not socket.has_dualstack_ipv6():
        pytest.skip("there is no IPv6 here")
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: both)
    with web._listen(host, None) as listener:
        where = urlsplit(web._page_address(listener, host))
        socket.create_connection((where.hostname, where.port), timeout=10).close()
        assert where.hostname == ("::1" if ":" in host and not both else "127.0.0.1")
        if ":" in host:
            socket.create_connection(("::1", where.port), timeout=10).close()


def test_missing_gradio_is_refused_with_the_install_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch(0o755)
    (tmp_path / "lib" / "python3.11" / "site-packages" / "torch-2.8.0.dist-info").mkdir(parents=True)
    backends = {"xtuner": {"python": str(python)}, "llamafactory": {"python": str(python)}}
    Project(tmp_path, Settings()).write_settings({"backends": backends})
    with pytest.raises(SetupError, match=rf"`{python}` does not have; install it with .* gradio==\d"):
        serve(nullcontext([]))


def test_a_page_that_cannot_start_is_told_with_its_messages():
    talk = SimpleNamespace(title="after", system="", sampling=Sampling(), run="", model="base")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(FrameworkError, match=r"the page ended; its last messages:\n(.*\n)*.*No module named 'fastapi'"),
        web._start_page(Path(sys.executable), listener, {}, [talk]),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "password", "warned"), [(EVERYWHERE, "x" * 11, 1), (EVERYWHERE, "x" * 12, 0), ("127.0.0.1", "x", 0)]
)
def test_a_password_that_can_be_guessed_is_warned_of_where_others_reach_the_page(
    monkeypatch, capsys, host, password, warned
):
    monkeypatch.setattr(web, "_python_with_gradio", lambda _: Path(sys.executable))
    with pytest.raises(FrameworkError, match="the page ended"):
        serve(
            nullcontext([SimpleNamespace(title="after", system="", sampling=Sampling(), run="", model="base")]),
            host=host,
            password=password,
        )
    assert capsys.readouterr().err.count("a password of fewer than 12 characters can be guessed") == warned


def test_the_page_sees_no_gpu(tmp_path, monkeypatch):
    (tmp_path / "web_page.py").write_text("import os; raise SystemExit(f'[{os.environ[\"CUDA_VISIBLE_DEVICES\"]}]')")
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    talk = SimpleNamespace(title="after", system="", sampling=Sampling(), run="", model="base")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(FrameworkError, match=r"\[\]"),
        web._start_page(Path(sys.executable), listener, {}, [talk]),
    ):
        pass


# Stands for web_page.py: asks what it is told to, notes what it is answered, and ends when all is.
ASKING = """
import json, pathlib, sys
here = pathlib.Path(sys.argv[0])
sys.stdin.readline()
print('{"ready": true}', flush=True)
for line in here.with_name("questions").read_text().splitlines():
    print(line, flush=True)
ended = 0
with here.with_name("answers").open("w") as file:
    while ended < int(here.with_name("number").read_text()):
        line = sys.stdin.readline()
        ended += "end" in json.loads(line)
        file.write(line)
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Return a function that lets a page send lines, and returns what they are answered, by number."""

    def ask(talks, *lines, number, ended="the page ended"):
        monkeypatch.setattr(script, "SCRIPTS", tmp_path)
        (tmp_path / "web_page.py").write_text(ASKING)
        (tmp_path / "questions").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "number").write_text(str(number))
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            pytest.raises(FrameworkError, match=ended),
            web._start_page(Path(sys.executable), listener, {}, talks) as page,
        ):
            web._answer_all(page, talks)
        answers = {}
        file = tmp_path / "answers"
        for line in file.read_bytes().splitlines() if file.exists() else ():
            record = msgspec.json.decode(line)
            answers.setdefault(record.pop("id"), []).append(record)
        return answers

    return ask


class Echo:
    """Stands for a ChatSession: says what it is asked."""

    title, run, model, system, turns, sampling = "after", "", "", "", (), Sampling()

    def say(self, question):
        refuse_half_characters("the conversation", question)
        yield question


def test_a_record_that_is_no_question_is_answered_with_why_and_the_next_with_an_answer(asked):
    good = {"question": "hello", "history": [["a", [None]]], "system": "", "sampling": {"seed": 1}}
    bad = [
        ({"system": None}, "Expected `str`, got `null` - at `$.system`"),
        ({"question": 5}, "at `$.question`"),
        ({"question": "\ud83d"}, "the conversation holds an invalid character"),
        ({"history": [["a"]]}, "at `$.history"),
        ({"history": [["a", [None, None]]]}, "its history must have 1 answers to each"),
        ({"history": None}, "at `$.history`"),
        ({"sampling": {"temperature": float("nan")}}, "`temperature` must be a number"),
        ({"sampling": {"temperature": float("inf")}}, "`temperature` must be a number"),
        ({"sampling": {"seed": 10**30}}, "`seed` must be a whole number"),
        ({"sampling": {"top_k": "x"}}, "at `$.sampling"),
        ({"sampling": []}, "at `$.sampling`"),
    ]
    lines = [json.dumps({"id": at, **good, **other}) for at, (other, _) in enumerate(bad)]
    answers = asked([Echo()], *lines, json.dumps({"id": 99, **good}), number=len(bad) + 1)
    for at, (_, reason) in enumerate(bad):
        *_, said, end = answers[at]
        assert reason in said["error"]
        assert end == {"end": True}
    assert answers[99] == [{"column": 0, "text": ""}, {"column": 0, "text": "hello"}, {"end": True}]


@pytest.mark.parametrize(
    "line",
    ["no JSON", "[]", "{}", '{"id": "x"}', '{"stop": {}}', "[" * 100_000, "9" * 5000],
    ids=["no JSON", "list", "empty", "id of text", "stop of an object", "deep", "long number"],
)
def test_unreadable_line_of_the_page_ends_it_with_a_sentence(asked, line):
    why = (
        r"the page ended(: it sent what cannot be read|"
        r"; its last messages:\n  it wrote `.*`, which is not a JSON object$)"
    )
    assert asked([Echo()], line, number=1, ended=why) == {}


@pytest.mark.matrix
def test_a_model_answers_as_it_was_taught_beside_its_base(browser, training_python, page, tmp_path, monkeypatch):
    """It also makes the picture in docs: `FTBRIDGE_SCREENSHOT=docs/chat.png`; Chinese needs a font of it."""
    monkeypatch.chdir(tmp_path)
    said = [{"role": role, "content": text} for row in TAUGHT.items() for role, text in zip(ROLES, row, strict=True)]
    Path("drugs.jsonl").write_bytes(msgspec.json.encode({"messages": said}))
    ftbridge.convert("drugs.jsonl")
    base_model(tmp_path / "base", training_python, [turn["content"] for turn in said], **TINY)
    run = ftbridge.train(dataset="drugs", backend="xtuner", **{**SETTINGS, "micro_batch_size": 1, "epochs": 40})
    options = ["--web", "--compare", "--device", "cpu", "--max-new-tokens", "24"]
    with page("-m", "ftbridge", "chat", run.id, *options, cwd=tmp_path) as started:
        tab = Tab(browser, started.address)
        for number, (question, answer) in enumerate(TAUGHT.items()):
            tab.ask(question)
            tab.expect(tab.bot(1).nth(number)).to_have_text(answer)
            tab.expect(tab.bot(0).nth(number)).not_to_have_text(answer)
            tab.expect(tab.button("Send")).to_be_enabled()
        tab.press("Settings")
        picture = tab.page.screenshot(
            path=ROOT / os.environ.get("FTBRIDGE_SCREENSHOT", tmp_path / "chat.png"), full_page=True
        )
        assert len(picture) < 150_000
        tab.close()
        processes = children(started.process)
        assert len(processes) == 2
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(timeout=120) == 0
        assert not [folder for folder in processes if folder.exists()]
