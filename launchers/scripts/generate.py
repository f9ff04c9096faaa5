"""Answer prompts with a model, streaming: the one place where ftbridge generates.

Runs inside the training environment: `python generate.py SPEC` with SPEC as JSON: `model`, `adapter` (or null),
`device` (cuda or cpu), `trust_remote_code`, `dtype` (auto: the model's own), `bits` (4, 8 or null), `compute_dtype` (of
layers in 4 bits) and `offload_folder` (or null).
Then one JSON object a line on stdin: `number`, `segments` (texts and {"token": name}), `adapter` (false: answer as the
base does), `stop` (what ends an answer, tokens or texts), `max_new_tokens`, `temperature` (0: greedy), `top_k` (0:
all), `top_p`, `repetition_penalty`, `seed`; on stdout {"ready": true} once, or {"misfit": words, "whole": bool} where
the adapter does not fit the model, and for each request lines {"text": piece} and a last one, {"end": WHY}, {"error":
sentence}, or {"tokens": n, "limit": n} for a prompt that is too long, all with the request's `number`. WHY is "stop",
"length" (of max_new_tokens), "full" (the model takes no more) or "interrupted": a line {"interrupt": number} ends that
answer.

A request with `prompts`, a list of segments each, and `batch_size` (null: by their length) in place of `segments` and
`adapter` is answered many at a time, the longest prompts first: a line {"index", "text", "finish"} for each prompt once
it is answered, where `finish` may also be "too_long", for a prompt that leaves no room, and {"end": "stop"}.
"""

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from adapter_fit import MisfitError, put_on
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
ROWS = 128
TOKENS = {"cpu": 8192, "cuda": 65536}

Write = Callable[[dict[str, Any]], None]
# A request, what went wrong in reading one, or None once there are no more.
Requests = queue.SimpleQueue[dict[str, Any] | BaseException | None]


class Answer(BaseStreamer):
    """Hands on the text of an answer as soon as it is certain; `stopped` once a stop word has come.

    transformers' own streamer waits for a space, which Japanese and Thai do not write, and knows no stop words.
    """

    def __init__(self, tokenizer: Any, words: list[str], write: Write) -> None:
        """Stream what `tokenizer` decodes to `write`, without special tokens, up to the first of `words`."""
        self.tokenizer, self.words, self.write = tokenizer, words, write
        self.ids: list[int] = []
        self.begin = self.read = 0  # what comes before `read` was decoded; `begin` gives it its context
        self.kept = ""  # may be the beginning of a stop word
        self.stopped = self.prompted = False

    def put(self, value: Any) -> None:
        """Take the prompt, then each new token."""
        if not self.prompted:
            self.prompted = True
            return
        self.ids += value.flatten().tolist()
        before, now = self._decode(self.ids[self.begin : self.read]), self._decode(self.ids[self.begin :])
        # U+FFFD: the rest of the letter's bytes is in the next token.
        if len(now) > len(before) and not now.endswith("\ufffd"):
            self.begin, self.read = self.read, len(self.ids)
            self._take(now[len(before) :])

    def end(self) -> None:
        """Write what was kept back, and the bytes of a letter that was cut."""
        before, now = self._decode(self.ids[self.begin : self.read]), self._decode(self.ids[self.begin :])
        self._take(now[len(before) :])
        self._hand_on(self.kept)
        self.kept = ""

    def _take(self, text: str) -> None:
        if self.stopped:
            return
        text = self.kept + text
        found = [place for word in self.words if (place := text.find(word)) >= 0]
        if found:
            self.stopped, self.kept = True, ""
            self._hand_on(text[: min(found)])
            return
        lengths = (length for word in self.words for length in range(1, len(word)) if text.endswith(word[:length]))
        certain = len(text) - max(lengths, default=0)
        self.kept = text[certain:]
        self._hand_on(text[:certain])

    def _hand_on(self, text: str) -> None:
        if text:
            self.write({"text": text})

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def load(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Return tokenizer and model, with the adapter on it where there is one; ends where torch sees no GPU."""
    if spec["device"] == "cuda" and not torch.cuda.is_available():  # "auto" would take the CPU in silence
        sys.exit("No CUDA GPUs are available: torch sees none of the cards that it was given")
    remote = {"trust_remote_code": spec["trust_remote_code"]}
    if spec["trust_remote_code"]:
        answer_old_code()
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], **remote)
    place = {"offload_folder": spec["offload_folder"]} if spec["offload_folder"] else {}
    # Only "auto" shares a model out to GPU, main memory and disk; bitsandbytes wants to be told its place.
    where = "auto" if spec["device"] == "cuda" or place else "cpu" if spec["bits"] else None
    options = {"dtype": spec["dtype"], "device_map": where, **_quantization(spec)}
    model = model_class(spec, remote).from_pretrained(spec["model"], **options, **place, **remote)
    if spec["adapter"]:
        model = put_on(model, spec["adapter"], **place)
    if not IS_4:
        model.generation_config = GenerationConfig()
    return tokenizer, model.eval()


def model_class(spec: dict[str, Any], remote: dict[str, Any]) -> Any:
    """Return what loads the model: with what it sees by, where its adapter was trained within that.

    Of Qwen 3.5 AutoModelForCausalLM loads the text model alone, in which such an adapter finds none of its places; of
    Mistral 3 it loads nothing.
    """
    kind = type(AutoConfig.from_pretrained(spec["model"], **remote))
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and (
        kind not in MODEL_FOR_CAUSAL_LM_MAPPING or _is_within(spec["adapter"])
    ):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _is_within(adapter: str | None) -> bool:
    """Tell whether the adapter is of a text model within another."""
    file = Path(adapter or "", "adapter_model.safetensors")
    if not adapter or not file.is_file():
        return False
    with safe_open(file, "pt") as held:
        return any(".language_model." in name for name in held.keys())  # noqa: SIM118 - no dict


def answer_old_code() -> None:
    """Let caches answer what a model's own code asks them, as InternLM 2.5's does, and transformers 4.48 took away."""
    if not hasattr(Cache, "get_max_length"):
        Cache.get_max_length = lambda _self: None  # as long as is wanted, as a DynamicCache said
    if not hasattr(Cache, "seen_tokens"):
        Cache.seen_tokens = property(lambda self: self.get_seq_length())


def _quantization(spec: dict[str, Any]) -> dict[str, Any]:
    """Return bitsandbytes' settings; 4 bits are those of QLoRA's training: NF4, twice quantised."""
    if spec["bits"] is None:
        return {}
    settings = {"load_in_8bit": True} if spec["bits"] == 8 else {  # noqa: PLR2004
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": spec["compute_dtype"],
    }  # fmt: skip
    return {"quantization_config": BitsAndBytesConfig(**settings)}


def encode(tokenizer: Any, segments: list[Any]) -> list[int]:
    """Return the prompt's ids: each text by itself, as training encodes it; raises ValueError for no such token."""
    ids: list[int] = []
    for segment in segments:
        if isinstance(segment, str):
            ids += tokenizer.encode(segment, add_special_tokens=False)
        else:
            ids.append(needed_token_id(tokenizer, segment["token"]))
    return ids


def stop_ids(tokenizer: Any, stop: list[str]) -> list[int]:
    """Return the tokens that end an answer: those of `stop` that are tokens, and the tokenizer's own."""
    ids = {tokenizer.eos_token_id}
    for word in stop:
        found = token_id(tokenizer, word)
        # Bytes have names beyond ASCII: "è" may be the first byte of many letters.
        if found is not None and (word.isascii() or tokenizer.decode([found]) == word):
            ids.add(found)
    return sorted(ids - {None})


def room(model: Any) -> int | None:
    """Return how many tokens the model takes, prompt and answer together; None where it does not say."""
    names = ("max_position_embeddings", "seq_length")  # ChatGLM says seq_length
    config = model.config.get_text_config()
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def settings(tokenizer: Any, request: dict[str, Any], max_new_tokens: int, stops: list[int]) -> dict[str, Any]:
    """Return how to generate, as arguments of `model.generate`; the model's own defaults do not count.

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
    ids, limit = encode(tokenizer, request["segments"]), room(model)
    left = limit - len(ids) if limit else request["max_new_tokens"]
    if left < 1:
        write({"tokens": len(ids), "limit": limit})
        return
    set_seed(request["seed"])
    stops = stop_ids(tokenizer, request["stop"])
    streamer = Answer(tokenizer, request["stop"], write)
    inputs = torch.tensor([ids], device=model.device)

    def over(input_ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(input_ids),), streamer.stopped or interrupted(), device=input_ids.device)

    plain = request["adapter"] or not hasattr(model, "disable_adapter")
    with torch.inference_mode(), contextlib.nullcontext() if plain else model.disable_adapter():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            streamer=streamer,
            stopping_criteria=[over],
            **settings(tokenizer, request, min(left, request["max_new_tokens"]), stops),
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
    prompts = [encode(tokenizer, segments) for segments in request["prompts"]]
    limits = _answer_limits(model, prompts, request["max_new_tokens"])
    waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    while waiting and limits[waiting[0]] < 1:
        write({"index": waiting.pop(0), "text": "", "finish": "too_long"})
    stops = stop_ids(tokenizer, request["stop"])
    most = ROWS
    while waiting and not interrupted():
        longest, limit = len(prompts[waiting[0]]), limits[waiting[0]]
        fitting = max(1, TOKENS[model.device.type] // (longest + limit))
        # Beside a longer prompt, one near the model's limit would have less room for its answer than alone.
        batch = [index for index in waiting[: min(most, request["batch_size"] or fitting)] if limits[index] == limit]
        arguments = settings(tokenizer, request, limit, stops)
        answers = generate(model, [prompts[index] for index in batch], arguments)
        if answers is None:
            most = len(batch) // 2
            continue
        for index, ids in zip(batch, answers, strict=True):
            write({"index": index, **batch_answer(tokenizer, ids, stops, request, limit)})
        waiting = waiting[len(batch) :]
    write({"end": "stop"})


def _answer_limits(model: Any, prompts: list[list[int]], wanted: int) -> list[int]:
    """Return how many tokens the answer to each prompt may have, `wanted` at most."""
    limit = room(model)
    return [min(wanted, limit - len(ids)) if limit else wanted for ids in prompts]


def generate(model: Any, prompts: list[list[int]], given: dict[str, Any]) -> list[list[int]] | None:
    """Return the tokens after each prompt; None where a GPU has too little memory for several at once."""
    width, pad = max(map(len, prompts)), given["generation_config"].pad_token_id
    padded = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=model.device)
    # Positions are counted from the mask, too.
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    try:
        with torch.inference_mode():
            output = model.generate(padded, attention_mask=mask, **given)
        return [row[width:] for row in output.tolist()]
    except RuntimeError as error:
        full = isinstance(error, torch.OutOfMemoryError) or "_STATUS_ALLOC_FAILED" in str(error)  # cuBLAS has its own
        if len(prompts) == 1 or not full:
            raise
    torch.cuda.empty_cache()
    return None


def batch_answer(
    tokenizer: Any, ids: list[int], stops: list[int], request: dict[str, Any], limit: int
) -> dict[str, str]:
    """Return the `text` of an answer of at most `limit` tokens, up to what ends it, and as `finish` why it ended."""
    length = next((at for at, token in enumerate(ids) if token in stops), len(ids))
    text = str(tokenizer.decode(ids[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False))
    place = min((at for word in request["stop"] if (at := text.find(word)) >= 0), default=None)
    finish = "length" if limit == request["max_new_tokens"] else "full"
    if place is not None or length < len(ids):
        finish = "stop"
    return {"text": text[:place], "finish": finish}


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
        tokenizer, model = load(json.loads(sys.argv[1]))
    except MisfitError as error:
        write({"misfit": str(error), "whole": error.whole})
        return
    write({"ready": True})
    threading.Thread(target=read_requests, args=[requests, interrupted], daemon=True).start()
    while request := requests.get():
        if isinstance(request, BaseException):
            raise request
        number = request["number"]
        numbered = partial(_numbered, write, number)
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


def _numbered(write: Write, number: int, record: dict[str, Any]) -> None:
    write({"number": number, **record})


if __name__ == "__main__":
    main()
