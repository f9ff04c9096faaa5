"""`ftbridge chat --web`: the page in a real browser, and what ends it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.dialogue import web
from ftbridge.dialogue.generation import Sampling
from ftbridge.dialogue.web import Question, serve

PARROT = Path(__file__).with_name("parrot.py")


@contextmanager
def page(*arguments, cwd):
    """Start a page; yield its process and its address once it answers."""
    with subprocess.Popen([sys.executable, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            yield process, address
        finally:
            process.kill()


def answers(address):
    """Return whether something listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0


@pytest.fixture(scope="module")
def parrot(training_python, tmp_path_factory):
    """Return the address of a page with two parrots; Ctrl-C ends it in the end."""
    with page(PARROT, "before", "after", cwd=tmp_path_factory.mktemp("page")) as (process, address):
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert not answers(address)


class Tab:
    """A tab with the page, as a person sees it."""

    def __init__(self, browser, address, locale="en-US"):
        self.address = address
        self.page = browser.new_page(locale=locale, viewport={"width": 1000, "height": 700})
        self.requests, self.trouble = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        self.page.goto(address)
        self.question = self.page.get_by_role("textbox").first
        self.columns = self.page.get_by_role("log")

    def ask(self, question):
        self.question.click()
        self.page.keyboard.insert_text(question)
        self.page.keyboard.press("Enter")

    def bot(self, column):
        return self.columns.nth(column).get_by_test_id("bot")

    def close(self):
        self.page.close()
        assert [url for url in self.requests if not url.startswith((self.address, "data:"))] == []
        assert self.trouble == []


@pytest.fixture
def tab(browser, parrot):
    """Return a tab with the parrots' page in English; what it asks for stays on this machine."""
    opened = Tab(browser, parrot)
    yield opened
    opened.close()


@pytest.mark.framework
@pytest.mark.parametrize(
    ("locale", "titles", "send"),
    [("en-US", ["Before fine-tuning", "After fine-tuning"], "Send"), ("zh-CN", ["微调前", "微调后"], "发送")],
)
def test_both_columns_answer_in_chinese_and_english(browser, parrot, locale, titles, send):
    from playwright.sync_api import expect

    tab = Tab(browser, parrot, locale)
    for title in titles:
        expect(tab.page.get_by_text(title)).to_be_visible()
    tab.ask("阿司匹林有什么用？")
    for column, title in enumerate(["before", "after"]):
        said = f"{title}, turn 1, You are a parrot. seed 0: 阿司匹林有什么用？"
        expect(tab.bot(column)).to_have_text(said)
    tab.question.fill("what is aspirin for")
    tab.page.get_by_role("button", name=send).click()
    expect(tab.bot(1).nth(1)).to_have_text("after, turn 2, You are a parrot. seed 0: what is aspirin for")
    tab.close()
