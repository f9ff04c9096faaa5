"""Servers that answer, and those that stall, die and talk nonsense."""

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing
from itertools import islice

import pytest

from ftbridge.core.errors import FrameworkError, InputError, SetupError, UsageError
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.evaluation.answers.engines import server as server_module
from ftbridge.evaluation.answers.engines.endpoint import Endpoint, Patience, _seconds_to_wait
from ftbridge.evaluation.answers.engines.server import KEY
from ftbridge.launchers.process.script import CHILD_ENV
from ftbridge.weights.card import card_of
from ftbridge.weights.source import resolve

from .api_server import serving

HASTY = Patience(seconds=2, tries=4, pause=0.01)
QUESTIONS = [f"question {number}?" for number in range(40)]


def ask(address, questions=QUESTIONS[:3], *, model="tiny", concurrency=4, stop=(), patience=HASTY, **options):
    """Return the answers of a server to some questions, by their numbers."""
    with Endpoint(address, model, concurrency, patience=patience) as engine:
        prompts = [engine.prompt_for("Be brief.", [(question, None)]) for question in questions]
        return sorted(engine.batch(prompts, stop, Sampling(max_new_tokens=7), **options))


def test_every_question_is_answered_once_as_training_would_ask_it():
    with serving() as server:
        found = ask(server.address, QUESTIONS, model="", stop=["<|im_end|>", "b", "c", "d", "e"])
        assert [each.text for each in found] == QUESTIONS
        assert {each[2:] for each in found} == {("stop", "")}
        listed, *asked = server.requests
        assert (listed.path, len(asked)) == ("/v1/models", len(QUESTIONS))
        assert {each.path for each in asked} == {"/v1/chat/completions"}
        body = next(each.body for each in asked if each.body["messages"][-1]["content"] == QUESTIONS[5])
        assert body == {
            "model": "tiny",
            "temperature": 0,
            "max_tokens": 7,
            "stop": ["<|im_end|>", "b", "c", "d"],
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTIONS[5]}],
        }


def test_earlier_turns_are_sent_and_another_served_model_may_answer():
    with serving() as server, Endpoint(server.address, "tiny", patience=HASTY) as engine:
        prompt = engine.prompt_for("", [("one", "1"), ("two", None)])
        assert next(engine.batch([prompt], (), Sampling(), adapter="other")).text == "two"
        (asked,) = server.requests
        assert asked.body["model"] == "other"
        assert asked.body["messages"] == [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "two"},
        ]
        with pytest.raises(UsageError, match="a server does not switch its adapter off"):
            next(engine.batch([prompt], (), Sampling(), adapter=None))


def test_as_many_are_asked_at_a_time_as_wanted_and_no_more_than_are_heard():
    together = threading.Barrier(4)

    def meet(asked):
        together.wait(10)
        asked.parrot()

    with serving(meet) as server:
        assert len(ask(server.address, QUESTIONS, concurrency=4)) == 40
    with serving() as server, Endpoint(server.address, "tiny", 4, patience=HASTY) as engine:
        prompts = [engine.prompt_for("", [(question, None)]) for question in QUESTIONS]
        with closing(engine.batch(prompts, (), Sampling())) as answers:
            assert len(list(islice(answers, 2))) == 2
            time.sleep(0.3)
            assert len(server.requests) <= 2 + 2 * 4
    with pytest.raises(UsageError, match="`--concurrency` must be a whole number from 1 to 256"):
        Endpoint(server.address, concurrency=0)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["a", "b"], "Name it with `--endpoint-model`; it has `a`, `b`"),
        ([], "Name it with `--endpoint-model`; it lists none"),
    ],
)
def test_a_server_of_several_models_wants_a_name(models, said):
    with serving(lambda asked: asked.say(200, {"data": [{"id": name} for name in models]})) as server:
        with pytest.raises(UsageError) as failed:
            ask(server.address, model="")
        assert said in str(failed.value)


def test_what_ends_an_answer_is_told_in_our_words():
    replies = {
        "cut": {"content": "longer", "finish": "length"},
        "tgi": {"content": "ended", "finish": "eos_token"},
        "ours": {"content": "yes<|im_end|>no", "finish": "length"},
        "at once": {"content": "<|im_end|>no"},
        "empty": {"content": ""},
        "thought": {"content": "yes", "reasoning_content": "hm"},
        "of another": {"content": "yes", "reasoning": "hm\n"},
        "thinking": {"content": None, "reasoning_content": "hm, so", "finish": "length"},
        "half": {"content": "a\ud83d"},
    }
    with serving(lambda asked: asked.answer(**replies[asked.body["messages"][-1]["content"]])) as server:
        found = ask(server.address, replies, stop=["<|im_end|>"])
    assert [(each.text, each.finish) for each in found] == [
        ("longer", "length"),
        ("ended", "stop"),
        ("yes", "stop"),
        ("", "stop"),
        ("", "stop"),
        ("<think>\nhm\n</think>\n\nyes", "stop"),
        ("<think>\nhm\n</think>\n\nyes", "stop"),
        ("<think>\nhm, so", "length"),
        ("a?", "stop"),
    ]


def test_a_busy_server_is_asked_again_and_this_is_said_once(capsys):
    def busy(asked):
        if asked.number <= 3:
            return asked.say(429, {"error": {"message": "slow down"}}, Retry_After="0")
        return asked.say(503, b"starting") if asked.number == 4 else asked.parrot()

    with serving(busy) as server:
        assert [each.text for each in ask(server.address, QUESTIONS[:6])] == QUESTIONS[:6]
    said = capsys.readouterr().err
    assert said.count("answers 429") == 1
    assert "answers 503 (`starting`); trying again" in said


def test_a_wait_that_is_asked_for_is_kept_unless_it_is_too_long():
    def later(asked):
        asked.say(429, {}, Retry_After="0.5") if asked.number == 1 else asked.parrot()

    with serving(later) as server:
        started = time.monotonic()
        ask(server.address, QUESTIONS[:1])
        assert time.monotonic() - started >= 0.5
    with (
        serving(lambda asked: asked.say(429, {}, Retry_After="86400")) as server,
        pytest.raises(FrameworkError, match="asks to try again in 86400 s"),
    ):
        ask(server.address)
    assert 50 < _seconds_to_wait(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))) <= 60
    assert [_seconds_to_wait(text) for text in ("", "soon", "-3", "Wed, 01 Jan 2020 00:00:00 GMT")] == [0, 0, 0, 0]


def test_a_server_that_fails_for_ever_keeps_what_is_answered():
    def fail(asked):
        asked.parrot() if asked.number <= 2 else asked.say(500, {"detail": "CUDA out of memory"})

    with serving(fail) as server:
        found = []
        with (
            pytest.raises(FrameworkError) as failed,
            Endpoint(server.address, "tiny", 1, patience=HASTY) as engine,
        ):
            found.extend(engine.batch([engine.prompt_for("", [(q, None)]) for q in QUESTIONS], (), Sampling()))
        assert len(server.requests) == 2 + HASTY.tries
    assert [each.text for each in found] == [] or len(found) == 2
    assert 'answers 500 (`{"detail": "CUDA out of memory"}`); 2 answers are kept, and the same command goes on' in str(
        failed.value
    )


def stall(asked):
    asked.server.over.wait(20)


def trickle(asked):
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    while not asked.server.over.wait(0.05):
        asked.wfile.write(b" ")


@pytest.mark.parametrize("behave", [stall, trickle], ids=["silence", "a byte now and then"])
def test_a_server_that_stalls_is_given_up(behave):
    with serving(behave) as server:
        started = time.monotonic()
        with pytest.raises(FrameworkError, match=r"did not answer within 0\.5 s; 0 answers are kept"):
            ask(server.address, patience=Patience(seconds=0.5, pause=0.01))
        assert time.monotonic() - started < 5


def die(asked):
    asked.close_connection = True
    asked.connection.shutdown(socket.SHUT_RDWR)


def die_halfway(asked):
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    asked.wfile.write(b'{"choices": [{"message": {"content": "ye')
    asked.close_connection = True


@pytest.mark.parametrize("behave", [die, die_halfway], ids=["at once", "within a reply"])
def test_a_server_that_dies_is_told(behave):
    with (
        serving(behave) as server,
        pytest.raises(FrameworkError, match=r"the server http://127\.0\.0\.1:\d+/v1 cannot be asked: .*; 0 answers"),
    ):
        ask(server.address)
    with pytest.raises(FrameworkError, match=r"cannot be asked: .*refused; 0 answers are kept"):
        ask(server.address)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><b>Hello</b></html>", "not of the OpenAI API (text/html): `<html><b>Hello</b></html>`"),
        (b"", "not of the OpenAI API (text/html): `nothing`"),
        (b"data: {}\n\ndata: [DONE]", "`data: {} data: [DONE]`"),
        (b"[" * 100_000, "not of the OpenAI API"),
        (b"\xff\xfe", "not of the OpenAI API"),
        ({"error": "no"}, "not of the OpenAI API"),
        ([], "not of the OpenAI API"),
        ({"choices": "none"}, "not of the OpenAI API"),
        ({"choices": [{"message": {"content": ["yes"]}, "finish_reason": "stop"}]}, "not of the OpenAI API"),
        ({"choices": []}, "answers with no choice"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, "answers with no text"),
        ({"choices": [{"message": {"content": "ye"}}]}, "cut an answer off (`None`), so it cannot be used"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, "(`content_filter`)"),
    ],
)
def test_nonsense_is_no_answer(body, said):
    with serving(lambda asked: asked.say(200, body, "text/html")) as server:
        with pytest.raises(FrameworkError) as failed:
            ask(server.address)
        assert said in str(failed.value)
        assert len(str(failed.value)) < 500


def test_a_body_without_end_is_cut(monkeypatch):
    def flood(asked):
        asked.send_response(200)
        asked.end_headers()
        asked.close_connection = True
        while not asked.server.over.is_set():
            asked.wfile.write(b"[" * 4096)

    monkeypatch.setattr(server_module, "MOST_BYTES", 1 << 16)
    with serving(flood) as server, pytest.raises(FrameworkError, match="sends more than an answer can hold; 0 answers"):
        ask(server.address)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (401, SetupError, "it needs another key in the environment variable OPENAI_API_KEY"),
        (404, UsageError, "is this the address of the API, and `tiny` a model there?"),
        (400, InputError, "refuses the question: it answers 400"),
    ],
)
def test_a_refusal_is_not_asked_again(status, error, said):
    with serving(lambda asked: asked.say(status, {"error": "you may not"})) as server:
        with pytest.raises(error) as failed:
            ask(server.address, QUESTIONS[:1])
        assert said in str(failed.value)
        assert "you may not" in str(failed.value)
        assert len(server.requests) == 1


def test_a_question_that_is_too_long_gets_the_room_that_is_left_or_none():
    def measure(asked):
        question = asked.body["messages"][-1]["content"]
        if question == "long" or (question == "longer" and "max_tokens" in asked.body):
            return asked.say(400, {"error": {"message": "This model's maximum context length is 9 tokens."}})
        return asked.answer("so", "length")

    with serving(measure) as server:
        found = ask(server.address, ["short", "longer", "long"])
    assert [(each.text, each.finish) for each in found] == [("so", "length"), ("so", "full"), ("", "too_long")]


def test_answers_that_nobody_waits_for_any_more_end_at_once():
    with serving(lambda asked: asked.parrot() if asked.number < 3 else stall(asked)) as server:
        with Endpoint(server.address, "tiny", 2, patience=Patience(seconds=30)) as engine:
            prompts = [engine.prompt_for("", [(question, None)]) for question in QUESTIONS]
            with closing(engine.batch(prompts, (), Sampling())) as answers:
                next(answers)
            started = time.monotonic()
            while any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()):
                assert time.monotonic() - started < 5
                time.sleep(0.01)
        assert len(server.requests) <= 4


@pytest.fixture
def llamafactory_server(project, training_python, tmp_path):
    """Yield the address of LLaMA-Factory's own server, with the base model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_KEY": "a-key", "CUDA_VISIBLE_DEVICES": ""}
    command = [training_python, "-m", "llamafactory.cli", "api", "--model_name_or_path", project / "base"]
    command += ["--template", "qwen", "--infer_dtype", "float32"]
    log = tmp_path / "log.txt"
    with (
        log.open("w") as out,
        subprocess.Popen(
            command, env={**os.environ, **CHILD_ENV, **environment}, stdout=out, stderr=out, start_new_session=True
        ) as server,
    ):
        try:
            end = time.monotonic() + 300
            while "Uvicorn running" not in log.read_text("utf-8", "replace"):
                assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
                assert time.monotonic() < end
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.framework
@pytest.mark.matrix
def test_llamafactorys_server_answers_as_this_process_does(
    llamafactory_server, in_project, training_python, monkeypatch
):
    with pytest.raises(SetupError, match="needs another key"):
        ask(llamafactory_server, model="", patience=Patience())
    monkeypatch.setenv(KEY, "a-key")
    card, questions = card_of(resolve("base"), template="qwen2.5"), QUESTIONS[:6]
    found = {each.number: each for each in ask(llamafactory_server, questions, model="", patience=Patience())}
    assert {each.finish for each in found.values()} <= {"stop", "length"}
    with Generator(training_python, card, in_project / "base", None, (), Loading(dtype="float32")) as generator:
        prompts = [generator.prompt_for("Be brief.", [(question, None)]) for question in questions]
        own = {each.number: each.text for each in generator.batch(prompts, card.stop, Sampling(max_new_tokens=7))}
    assert own.keys() == found.keys()
    assert sum(found[number].text == text for number, text in own.items()) >= 5  # one may be tipped over by rounding
