"""Whose question is next, and what is dropped; the ways in and out are those of ftbridge."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ftbridge.launchers.scripts import web_bridge
from ftbridge.launchers.scripts.web_bridge import MOST_WAITING, UNREAD, Bridge


def played(story):
    """Return what a story ends with; in a thread of its own, as Playwright leaves a running loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(story())).result()


class Asked:
    """A bridge whose questions are answered when the test says so."""

    def __init__(self):
        self.sent = []
        self.bridge = Bridge(self.sent.append)
        self.tasks = []

    async def ask(self, session, question):
        """Ask, and let all that can happen; return the task, whose result is the answer's records."""

        async def listen():
            return [record async for record in self.bridge.ask(session, {"question": question})]

        self.tasks.append(asyncio.create_task(listen()))
        await asyncio.sleep(0)
        return self.tasks[-1]

    async def answer(self):
        """Answer what is asked; return it."""
        asked = [record for record in self.sent if "question" in record][-1]
        for record in ({"text": f"to {asked['question']}"}, {"end": True}):
            self.bridge.receive({"id": asked["id"], **record})
        await asyncio.sleep(0)
        return asked["question"]


def test_a_session_that_asks_often_lets_the_others_go_before_it():
    async def story():
        asked = Asked()
        with asked.bridge.stream_open("eager"), asked.bridge.stream_open("calm"), asked.bridge.stream_open("late"):
            for number in range(5):
                await asked.ask("eager", f"e{number}")
            await asked.ask("calm", "c0")
            await asked.ask("calm", "c1")
            order = [await asked.answer(), await asked.answer()]
            await asked.ask("late", "l0")
            order += [await asked.answer() for _ in range(6)]
            texts = [(await task)[0]["text"] for task in asked.tasks]
            assert texts == [f"to {name}" for name in ("e0", "e1", "e2", "e3", "e4", "c0", "c1", "l0")]
        return order

    assert played(story) == ["e0", "e1", "c0", "e2", "c1", "l0", "e3", "e4"]


def test_session_that_nobody_reads_waits_and_keeps_its_place():
    async def story():
        asked = Asked()
        unread = await asked.ask("unread", "u")
        assert not asked.sent
        with asked.bridge.stream_open("read"):
            await asked.ask("read", "r")
            await asked.ask("read", "s")
            assert await asked.answer() == "r"
            with asked.bridge.stream_open("unread"):
                assert await asked.answer() == "s"
                assert await asked.answer() == "u"
        assert await unread == [{"id": 0, "text": "to u"}]

    played(story)


def test_question_whose_answer_nobody_reads_is_dropped_after_a_while(monkeypatch):
    async def story():
        asked = Asked()
        sweeping = asyncio.create_task(asked.bridge.sweep())
        never = await asked.ask("never", "n")
        with asked.bridge.stream_open("left"):
            left = await asked.ask("left", "l")
            waiting = await asked.ask("left", "w")
        assert await asyncio.wait_for(never, 60) == []
        assert await asyncio.wait_for(waiting, 60) == []
        while {"stop": 1} not in asked.sent:  # noqa: ASYNC110 - what is being answered
            await asyncio.sleep(0.01)
        await asked.answer()
        assert await left == [{"id": 1, "text": "to l"}]
        with asked.bridge.stream_open("read"):
            read = await asked.ask("read", "r")
            await asyncio.sleep(3 * web_bridge.UNREAD)
            assert not read.done()
            assert asked.sent[-1] == {"id": 3, "question": "r"}
            await asked.answer()
        assert not asked.bridge.waiting
        sweeping.cancel()

    assert UNREAD == 20
    monkeypatch.setattr(web_bridge, "UNREAD", 0.2)
    played(story)


def test_session_with_too_many_waiting_questions_is_refused():
    async def story():
        asked = Asked()
        with asked.bridge.stream_open("eager"):
            for number in range(MOST_WAITING + 1):  # one is being answered
                await asked.ask("eager", str(number))
            (said,) = await (await asked.ask("eager", "more"))
            assert said == {"error": f"{MOST_WAITING} questions wait already; ask again once they are answered"}
            for _ in range(MOST_WAITING + 1):
                await asked.answer()
        assert all([(await task)[0]["text"] for task in asked.tasks[:-1]])

    played(story)


def test_stop_ends_what_is_answered_and_what_waits_of_this_session_alone():
    async def story():
        asked = Asked()
        with ExitStack() as streams:
            for name in ("one", "two"):
                streams.enter_context(asked.bridge.stream_open(name))
            one, waiting = await asked.ask("one", "1"), await asked.ask("one", "2")
            two = await asked.ask("two", "3")
            asked.bridge.stop("one")
            assert asked.sent[1:] == [{"stop": 0}]
            assert await waiting == []
            assert not one.done()
            assert [await asked.answer(), await asked.answer()] == ["1", "3"]
            assert [len(await task) for task in (one, two)] == [1, 1]

    played(story)
