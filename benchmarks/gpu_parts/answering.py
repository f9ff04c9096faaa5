"""The phase of `chat` and `predict`: the large model with its adapter, in its own dtype, in 8 and in 4 bits."""

import time
from collections.abc import Iterator
from functools import partial

from gpu_parts.bench import Bench, Row, attempt, gib
from gpu_parts.memory import Watch

import ftbridge
from ftbridge.core.errors import FrameworkError
from ftbridge.dialogue.chat import chat_sessions
from ftbridge.dialogue.generation import Sampling
from ftbridge.dialogue.placement import Loading, place
from ftbridge.launchers.runs.record import Run

QUESTION = "What is aspirin?"
TOKENS, QUESTIONS = 128, 32


def answers(bench: Bench) -> Iterator[Row]:
    """Ask one question, whose answer is as long as it may be, then the test part."""
    run = bench.trained("large", "llamafactory")
    for bits in (None, 8, 4):
        yield attempt({"bits": bits or "16"}, partial(_ask, bench, run, bits))


def _ask(bench: Bench, run: Run, bits: int | None) -> Row:
    length, limit = (8, 4) if bench.rehearse else (TOKENS, QUESTIONS)
    sampling, device = Sampling(max_new_tokens=length), bench.device
    with Watch(bench.cards) as watch:
        begun = time.perf_counter()
        with chat_sessions(run.id, sampling=sampling, bits=bits, device=device) as (talk,):
            loaded = time.perf_counter()
            list(talk.say(QUESTION))  # the first answer also prepares the kernels
            warm = time.perf_counter()
            answer = "".join(talk.retry())
            seconds = time.perf_counter() - warm
        if not answer or talk.finish != "length":
            raise FrameworkError(f"the answer ended with {talk.finish} after {len(answer)} characters")
        asked = time.perf_counter()
        found = ftbridge.predict(
            run.id, out=f"answers-{bits}", bits=bits, device=device, limit=limit, max_new_tokens=length, replace=True
        )
        return {
            "loading": round(loaded - begun, 1),
            "tokens_per_second": round(length / seconds, 1),
            "questions": found.samples,
            "predict": round(time.perf_counter() - asked, 1),
            "weights": gib(place(bench.cards, bench.project / "large", None, Loading(bits=bits)).size),
            "card": gib(watch.peak),
        }
