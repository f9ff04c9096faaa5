"""Samples made to fit a cutoff length: the oldest turns go, then the end of the last question, never an answer."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_tokens import ChatTemplate, Message, Sample, encode

Encoded = tuple[list[int], list[int]]  # token ids and labels


@dataclass(frozen=True)
class Fitted:
    """Token ids and labels of a sample within the cutoff length; none where it cannot be made to fit.

    `length` counts its tokens before that; `cut` is "turns" or "question" where these were shortened, and `messages`
    are then what is left.
    """

    ids: list[int]
    labels: list[int]
    length: int
    cut: str = ""
    messages: Sequence[Message] = ()


def fit(template: ChatTemplate, messages: Sequence[Message], tools: Any, sample: Sample, cutoff: int) -> Fitted:
    """Return the `sample` of a conversation, which is longer than `cutoff` tokens, shortened to it."""
    given = [*messages[: sample.answers[-1] + 1]]
    last_only = len(sample.answers) == 1
    starts = [number for number, message in enumerate(given) if message["role"] == "user"]
    system = given[: starts[0]] if starts else []

    def encoded(kept: list[Message]) -> Encoded:
        result: Encoded = encode(template.tokenizer, template.samples(kept, tools, last_only=last_only)[-1:])[0]
        return result

    length = len(encoded(given)[0])
    # The fewest oldest turns whose loss is enough, if any is.
    later = starts[1:]
    dropped = bisect_left(later, True, key=lambda start: len(encoded(system + given[start:])[0]) <= cutoff)
    if dropped < len(later):
        kept = [*system, *given[later[dropped] :]]
        return Fitted(*encoded(kept), length, "turns", kept)
    kept = system + given[starts[-1] :] if starts else given
    shortened = _with_shorter_question(template.tokenizer, kept, encoded, cutoff)
    if not shortened:
        return Fitted([], [], length)
    (ids, labels), kept = shortened
    return Fitted(ids, labels, length, "question", kept)


def _with_shorter_question(
    tokenizer: Any, messages: list[Message], encoded: Any, cutoff: int
) -> tuple[Encoded, list[Message]] | None:
    """Return a conversation of one question, which is shortened at its end, and its tokens first; None if none fits."""
    number = next((number for number, message in enumerate(messages) if message["role"] == "user"), None)
    if number is None:
        return None
    question = messages[number]["content"]
    while question:
        shorter = [*messages[:number], {**messages[number], "content": question}, *messages[number + 1 :]]
        result: Encoded = encoded(shorter)
        if len(result[0]) <= cutoff:
            return result, shorter
        question = _beginning(tokenizer, question, len(result[0]) - cutoff)
    return None


def _beginning(tokenizer: Any, text: str, fewer: int) -> str:
    """Return a text without its last tokens, `fewer` of them or some more."""
    if tokenizer.is_fast:
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text[: offsets[-fewer][0]] if fewer < len(offsets) else ""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return text[: len(text) * (len(ids) - fewer) // len(ids)] if fewer < len(ids) else ""
