"""The phase of `chat` and `predict`: the large model with its adapter, in its own dtype, in 8 and in 4 bits."""

import time
from collections.abc import Iterator
from functools import partial

from gpu_parts.bench import Bench, Row, gib, try_measuring
from gpu_parts.memory import PeakMemory

import ftbridge
from ftbridge.core.errors import FrameworkError
from ftbridge.dialogue.chat import chat_sessions
from ftbridge.dialogue.generation import Sampling
from ftbridge.dialogue.placement import Loading, place
from ftbridge.launchers.runs.record import Run

QUESTION = "What is aspirin?"
ANSWER_TOKENS, QUESTIONS = 128, 32


def answering_phase(bench: Bench) -> Iterator[Row]:
    """Ask one question, whose answer is as long as it may be, then the test part."""
    run = bench.trained_run("large", "llamafactory")
    for bits in (None, 8, 4):
        yield try_measuring({"bits": bits or "16"}, partial(_time_answers, bench, run, bits))


def _time_answers(bench: Bench, run: Run, bits: int | None) -> Row:
    length, limit = (8, 4) if bench.rehearse else (ANSWER_TOKENS, QUESTIONS)
    sampling, device = Sampling(max_new_tokens=length), bench.device
    with PeakMemory(bench.gpus) as memory:
        begun = time.perf_counter()
        with chat_sessions(run.id, sampling=sampling, bits=bits, device=device) as (session,):
            loaded = time.perf_counter()
            list(session.say(QUESTION))  # the first answer also prepares the kernels
            warm = time.perf_counter()
            answer = "".join(session.retry())
            seconds = time.perf_counter() - warm
        if not answer or session.finish != "length":
            raise FrameworkError(f"the answer ended with {session.finish} after {len(answer)} characters")
        asked = time.perf_counter()
        found = ftbridge.predict(
            run.id, out=f"answers-{bits}", bits=bits, device=device, limit=limit, max_new_tokens=length, replace=True
        )
        return {
            "loading": round(loaded - begun, 1),
            "tokens_per_second": round(length / seconds, 1),
            "questions": found.samples,
            "predict": round(time.perf_counter() - asked, 1),
            "weights": gib(place(bench.gpus, bench.project / "large", None, Loading(bits=bits)).size),
            "card": gib(memory.peak),
        }
