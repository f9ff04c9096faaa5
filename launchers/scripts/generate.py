"""Answer prompts with a model, streaming: the one place where ftbridge generates.

Runs inside the training environment: `python generate.py SPEC` with SPEC as JSON: `model`, `adapter` (or null),
`device` (cuda or cpu), `trust_remote_code`, `dtype` (auto: the model's own), `bits` (4, 8 or null), `compute_dtype` (of
layers in 4 bits) and `offload_folder` (or null).
Then one JSON object a line on stdin: `number`, `segments` (texts and {"token": name}; or messages, where a
`chat_template` is given that renders them), `adapter` (false: answer as the
base does), `stop` (what ends an answer, tokens or texts), `max_new_tokens`, `temperature` (0: greedy), `top_k` (0:
all), `top_p`, `repetition_penalty`, `seed`; on stdout {"ready": true} once, or {"misfit": words, "whole": bool} where
the adapter does not fit the model, and for each request lines {"text": piece} and a last one, {"end": WHY}, {"error":
sentence}, or {"tokens": n, "limit": n} for a prompt that is too long, all with the request's `number`. WHY is "stop",
"length" (of max_new_tokens), "full" (the model takes no more) or "interrupted": a line {"interrupt": number} ends that
answer.

A request with `prompts`, and `batch_size` (null: by their length) in place of `segments` and
`adapter` is answered many at a time, the longest prompts first: a line {"index", "text", "finish"}, and the "prompt"
that a chat template has rendered, for each prompt once it is answered,
where `finish` may also be "too_long", for a prompt that leaves no room, and {"end": "stop"}.
"""

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from adapter_fit import MisfitError, load_adapter_onto
from chat_tokens import ChatTemplate, generation_stops
from safetensors import safe_open
from token_ids import needed_token_id, token_id
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    Cache,
    GenerationConfig,
    set_seed,
)
from transformers.generation.streamers import BaseStreamer

# transformers 4 is told to leave out the model's own defaults; 5 always adds those that the loaded model holds.
IS_4 = transformers.__version__.startswith("4.")
# What a batch holds at most: prompts, and tokens of them and of their answers together.
MOST_PROMPTS = 128
MOST_TOKENS = {"cpu": 8192, "cuda": 65536}

Write = Callable[[dict[str, Any]], None]
# A request, what went wrong in reading one, or None once there are no more.
Requests = queue.SimpleQueue[dict[str, Any] | BaseException | None]


class AnswerStreamer(BaseStreamer):
    """Hands on the text of an answer as soon as it is certain; `stopped` once a stop word has come.

    transformers' own streamer waits for a space, which Japanese and Thai do not write, and knows no stop words.
    """

    def __init__(self, tokenizer: Any, stop_words: list[str], write: Write) -> None:
        """Stream what `tokenizer` decodes to `write`, without special tokens, up to the first of `stop_words`."""
        self.tokenizer, self.stop_words, self.write = tokenizer, stop_words, write
        self.ids: list[int] = []
        self.context = self.decoded = 0  # ids up to `decoded` are text already; those from `context` on give it context
        self.held_back = ""  # may be the beginning of a stop word
        self.stopped = self.has_prompt = False

    def put(self, value: Any) -> None:
        """Take the prompt, then each new token."""
        if not self.has_prompt:
            self.has_prompt = True
            return
        self.ids += value.flatten().tolist()
        text = self._new_text()
        # U+FFFD: the rest of the letter's bytes is in the next token.
        if text and not text.endswith("\ufffd"):
            self.context, self.decoded = self.decoded, len(self.ids)
            self._stream_text(text)

    def end(self) -> None:
        """Write what was held back, and the bytes of a letter that was cut."""
        self._stream_text(self._new_text())
        self._write_text(self.held_back)
        self.held_back = ""

    def _new_text(self) -> str:
        """Return the text of the ids that are not decoded yet, after those before them."""
        before = self._decode(self.ids[self.context : self.decoded])
        return self._decode(self.ids[self.context :])[len(before) :]

    def _stream_text(self, text: str) -> None:
        """Write what is certain of `text`: up to a stop word, or to what may be the beginning of one."""
        if self.stopped:
            return
        text = self.held_back + text
        places = [place for word in self.stop_words if (place := text.find(word)) >= 0]
        if places:
            self.stopped, self.held_back = True, ""
            self._write_text(text[: min(places)])
            return
        lengths = (length for word in self.stop_words for length in range(1, len(word)) if text.endswith(word[:length]))
        certain = len(text) - max(lengths, default=0)
        self.held_back = text[certain:]
        self._write_text(text[:certain])

    def _write_text(self, text: str) -> None:
        if text:
            self.write({"text": text})

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def load_model(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Return tokenizer and model, with the adapter on it where there is one; ends where torch sees no GPU."""
    if spec["device"] == "cuda" and not torch.cuda.is_available():  # "auto" would take the CPU in silence
        sys.exit("No CUDA GPUs are available: torch sees none of the cards that it was given")
    trust = {"trust_remote_code": spec["trust_remote_code"]}
    if spec["trust_remote_code"]:
        restore_cache_methods()
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], **trust)
    offload = {"offload_folder": spec["offload_folder"]} if spec["offload_folder"] else {}
    # Only "auto" shares a model out to GPU, main memory and disk; bitsandbytes wants to be told its place.
    device_map = "cpu" if spec["bits"] else None
    if spec["device"] == "cuda" or offload:
        device_map = "auto"
    options = {"dtype": spec["dtype"], "device_map": device_map, **_quantization(spec)}
    model = model_class(spec, trust).from_pretrained(spec["model"], **options, **offload, **trust)
    if spec["adapter"]:
        model = load_adapter_onto(model, spec["adapter"], **offload)
    if not IS_4:
        model.generation_config = GenerationConfig()
    return tokenizer, model.eval()


def model_class(spec: dict[str, Any], trust: dict[str, Any]) -> Any:
    """Return the auto class that loads the model: that of text and images where its adapter was trained within that.

    Of Qwen 3.5 AutoModelForCausalLM loads the text model alone, in which such an adapter finds none of its places; of
    Mistral 3 it loads nothing.
    """
    config = type(AutoConfig.from_pretrained(spec["model"], **trust))
    if config in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and (
        config not in MODEL_FOR_CAUSAL_LM_MAPPING or _adapts_inner_model(spec["adapter"])
    ):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _adapts_inner_model(adapter: str | None) -> bool:
    """Tell whether the adapter is of a text model within another."""
    file = Path(adapter or "", "adapter_model.safetensors")
    if not adapter or not file.is_file():
        return False
    with safe_open(file, "pt") as tensors:
        return any(".language_model." in name for name in tensors.keys())  # noqa: SIM118 - no dict


def restore_cache_methods() -> None:
    """Let caches answer what a model's own code asks them, as InternLM 2.5's does, and transformers 4.48 took away."""
    if not hasattr(Cache, "get_max_length"):
        Cache.get_max_length = lambda _self: None  # as long as is wanted, as a DynamicCache said
    if not hasattr(Cache, "seen_tokens"):
        Cache.seen_tokens = property(lambda self: self.get_seq_length())


def _quantization(spec: dict[str, Any]) -> dict[str, Any]:
    """Return `from_pretrained`'s arguments for `bits`; 4 bits are those of QLoRA's training: NF4, twice quantised."""
    if spec["bits"] is None:
        return {}
    settings = {"load_in_8bit": True} if spec["bits"] == 8 else {  # noqa: PLR2004
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": spec["compute_dtype"],
    }  # fmt: skip
    return {"quantization_config": BitsAndBytesConfig(**settings)}


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


def context_length(model: Any) -> int | None:
    """Return how many tokens the model takes, prompt and answer together; None where it does not say."""
    names = ("max_position_embeddings", "seq_length")  # ChatGLM says seq_length
    config = model.config.get_text_config()
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def generation_arguments(
    tokenizer: Any, request: dict[str, Any], max_new_tokens: int, stops: list[int]
) -> dict[str, Any]:
    """Return the arguments of `model.generate` for a request; the model's own defaults do not count.

    Those of Qwen hold a repetition penalty, which would change greedy answers as well.
    """
    chosen = {
        "max_new_tokens": max_new_tokens,
        "eos_token_id": stops,
        "pad_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0),
        "repetition_penalty": request["repetition_penalty"],
        "do_sample": bool(request["temperature"]),
    }
    if request["temperature"]:
        chosen |= {name: request[name] for name in ("temperature", "top_k", "top_p")}
    return {"generation_config": GenerationConfig(**chosen), **({"use_model_defaults": False} if IS_4 else {})}


def answer(
    tokenizer: Any, model: Any, request: dict[str, Any], write: Write, interrupted: Callable[[], bool] = bool
) -> None:
    """Generate one answer and write it, piece by piece, until `interrupted`."""
    ids, limit = encode_prompt(tokenizer, request, request["segments"]), context_length(model)
    left = limit - len(ids) if limit else request["max_new_tokens"]
    if left < 1:
        write({"tokens": len(ids), "limit": limit})
        return
    set_seed(request["seed"])
    stops = stop_token_ids(tokenizer, request)
    streamer = AnswerStreamer(tokenizer, request["stop"], write)
    inputs = torch.tensor([ids], device=model.device)

    def is_over(input_ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(input_ids),), streamer.stopped or interrupted(), device=input_ids.device)

    as_it_is = request["adapter"] or not hasattr(model, "disable_adapter")
    with torch.inference_mode(), contextlib.nullcontext() if as_it_is else model.disable_adapter():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            streamer=streamer,
            stopping_criteria=[is_over],
            **generation_arguments(tokenizer, request, min(left, request["max_new_tokens"]), stops),
        )
    if streamer.stopped or output[0, -1].item() in stops:
        write({"end": "stop"})
    elif interrupted():
        write({"end": "interrupted"})
    else:
        write({"end": "length" if left >= request["max_new_tokens"] else "full"})


def answer_all(
    tokenizer: Any, model: Any, request: dict[str, Any], write: Write, interrupted: Callable[[], bool] = bool
) -> None:
    """Answer many prompts, each as `answer` would, in batches of prompts about as long, until `interrupted`."""
    prompts = [encode_prompt(tokenizer, request, prompt) for prompt in request["prompts"]]
    shown = _shown_prompts(tokenizer, request)
    limits = _answer_limits(model, prompts, request["max_new_tokens"])
    waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    while waiting and limits[waiting[0]] < 1:
        index = waiting.pop(0)
        write({"index": index, "text": "", "finish": "too_long", **shown[index]})
    stops = stop_token_ids(tokenizer, request)
    most = MOST_PROMPTS
    while waiting and not interrupted():
        longest, limit = len(prompts[waiting[0]]), limits[waiting[0]]
        fitting = max(1, MOST_TOKENS[model.device.type] // (longest + limit))
        # Beside a longer prompt, one near the model's limit would have less room for its answer than alone.
        batch = [index for index in waiting[: min(most, request["batch_size"] or fitting)] if limits[index] == limit]
        arguments = generation_arguments(tokenizer, request, limit, stops)
        answers = generate_batch(model, [prompts[index] for index in batch], arguments)
        if answers is None:
            most = len(batch) // 2
            continue
        for index, ids in zip(batch, answers, strict=True):
            write({"index": index, **batch_answer(tokenizer, ids, stops, request, limit), **shown[index]})
        waiting = waiting[len(batch) :]
    write({"end": "stop"})


def _shown_prompts(tokenizer: Any, request: dict[str, Any]) -> list[dict[str, str]]:
    """Return what is told of each prompt beside its answer: its text, where a chat template has rendered it."""
    if not request.get("chat_template"):
        return [{} for _ in request["prompts"]]
    return [{"prompt": render_prompt(tokenizer, request, prompt)} for prompt in request["prompts"]]


def _answer_limits(model: Any, prompts: list[list[int]], wanted: int) -> list[int]:
    """Return how many tokens the answer to each prompt may have, `wanted` at most."""
    limit = context_length(model)
    return [min(wanted, limit - len(ids)) if limit else wanted for ids in prompts]


def generate_batch(model: Any, prompts: list[list[int]], arguments: dict[str, Any]) -> list[list[int]] | None:
    """Return the tokens after each prompt; None where a GPU has too little memory for several at once."""
    width, pad = max(map(len, prompts)), arguments["generation_config"].pad_token_id
    padded = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=model.device)
    # Positions are counted from the mask, too.
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    try:
        with torch.inference_mode():
            output = model.generate(padded, attention_mask=mask, **arguments)
        return [row[width:] for row in output.tolist()]
    except RuntimeError as error:
        # cuBLAS has an error of its own.
        is_out_of_memory = isinstance(error, torch.OutOfMemoryError) or "_STATUS_ALLOC_FAILED" in str(error)
        if len(prompts) == 1 or not is_out_of_memory:
            raise
    torch.cuda.empty_cache()
    return None


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


def main() -> None:
    """Answer requests until stdin ends; libraries that print do so on stderr."""
    # A tokenizer of Python may decode half a character, which no reader of JSON takes.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    requests: Requests = queue.SimpleQueue()
    interrupted: set[int] = set()

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()

    try:
        tokenizer, model = load_model(json.loads(sys.argv[1]))
    except MisfitError as error:
        write({"misfit": str(error), "whole": error.whole})
        return
    write({"ready": True})
    threading.Thread(target=read_requests, args=[requests, interrupted], daemon=True).start()
    while request := requests.get():
        if isinstance(request, BaseException):
            raise request
        number = request["number"]
        numbered = partial(_write_numbered, write, number)
        try:
            respond = answer_all if "prompts" in request else answer
            respond(tokenizer, model, request, numbered, partial(interrupted.__contains__, number))
        except Exception as error:  # noqa: BLE001 - whatever one request does, the next is answered
            numbered({"error": " ".join(str(error).split()) or type(error).__name__})


def read_requests(requests: Requests, interrupted: set[int]) -> None:
    """Put what stdin asks into `requests`, None at its end, and the numbers of answers to end into `interrupted`."""
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if "interrupt" in request:
                interrupted.add(request["interrupt"])
            else:
                requests.put(request)
        requests.put(None)
    except BaseException as error:  # noqa: BLE001 - nobody would hear any more: the main thread raises it
        requests.put(error)


def _write_numbered(write: Write, number: int, record: dict[str, Any]) -> None:
    write({"number": number, **record})


if __name__ == "__main__":
    main()
