"""Prompts and answers in tokens, the same for each program that generates.

Prompts are encoded as the training encodes them, and an answer ends where the training ends one.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from chat_tokens import ChatTemplate, generation_stops
from token_ids import needed_token_id, token_id

Write = Callable[[dict[str, Any]], None]


def render_prompt(tokenizer: Any, request: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """Return the text of a conversation, open for an answer, by the request's chat template."""
    return str(ChatTemplate(tokenizer, request["chat_template"], ()).render(messages, prompt=True))


def encode_prompt(tokenizer: Any, request: dict[str, Any], prompt: list[Any]) -> list[int]:
    """Return the prompt's ids, as training encodes it; raises ValueError for no such token.

    What a chat template renders is encoded as a whole, else each text by itself.
    """
    if request.get("chat_template"):
        text = render_prompt(tokenizer, request, prompt)
        return list(tokenizer.encode(text, add_special_tokens=False))
    ids: list[int] = []
    for segment in prompt:
        if isinstance(segment, str):
            ids += tokenizer.encode(segment, add_special_tokens=False)
        else:
            ids.append(needed_token_id(tokenizer, segment["token"]))
    return ids


def stop_token_ids(tokenizer: Any, request: dict[str, Any]) -> list[int]:
    """Return the tokens that end an answer: those of `stop` that are tokens, the tokenizer's and the template's."""
    ids = {tokenizer.eos_token_id}
    if request.get("chat_template"):
        ids |= trained_stops(tokenizer, request["chat_template"])
    for word in request["stop"]:
        stop_id = token_id(tokenizer, word)
        # Bytes have names beyond ASCII: "è" may be the first byte of many letters.
        if stop_id is not None and (word.isascii() or tokenizer.decode([stop_id]) == word):
            ids.add(stop_id)
    return sorted(ids - {None})


@cache
def trained_stops(tokenizer: Any, template: str) -> frozenset[int]:
    """Return the tokens that end an answer by the generation config, and that which the template writes after one."""
    stops = generation_stops(tokenizer, tokenizer.name_or_path)
    named = [*stops, ChatTemplate(tokenizer, template, stops).closing]
    return frozenset(found for name in named if (found := token_id(tokenizer, name)) is not None)


def context_length(config: Any) -> int | None:
    """Return how many tokens a model of this config takes, prompt and answer together; None where it does not say."""
    names = ("max_position_embeddings", "seq_length")  # ChatGLM says seq_length
    return next((length for name in names if (length := getattr(config.get_text_config(), name, None))), None)


class Batch(NamedTuple):
    """The prompts of a request in tokens, and of each how many tokens its answer may have.

    `waiting` are the numbers of those that have room for an answer, the longest first, `stops` the tokens that end one,
    and `shown` what is told of each prompt beside its answer: its text, where a chat template has rendered it.
    """

    prompts: list[list[int]]
    limits: list[int]
    waiting: list[int]
    stops: list[int]
    shown: list[dict[str, str]]


def read_batch(tokenizer: Any, request: dict[str, Any], context: int | None, write: Write) -> Batch:
    """Return what a request asks of a model that takes `context` tokens; prompts without room are answered at once."""
    prompts = [encode_prompt(tokenizer, request, prompt) for prompt in request["prompts"]]
    rendered = request["prompts"] if request.get("chat_template") else []
    shown = [{"prompt": render_prompt(tokenizer, request, prompt)} for prompt in rendered] or [{} for _ in prompts]
    wanted = request["max_new_tokens"]
    limits = [min(wanted, context - len(ids)) if context else wanted for ids in prompts]
    waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for index in waiting:
        if limits[index] < 1:
            write({"index": index, "text": "", "finish": "too_long", **shown[index]})
    waiting = [index for index in waiting if limits[index] > 0]
    return Batch(prompts, limits, waiting, stop_token_ids(tokenizer, request), shown)


def batch_answer(
    tokenizer: Any, ids: list[int], stops: list[int], request: dict[str, Any], limit: int
) -> dict[str, str]:
    """Return the `text` of an answer of at most `limit` tokens, up to what ends it, and as `finish` why it ended."""
    length = next((index for index, token in enumerate(ids) if token in stops), len(ids))
    text = str(tokenizer.decode(ids[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False))
    end = min((place for word in request["stop"] if (place := text.find(word)) >= 0), default=None)
    finish = "length" if limit == request["max_new_tokens"] else "full"
    if end is not None or length < len(ids):
        finish = "stop"
    return {"text": text[:end], "finish": finish}
