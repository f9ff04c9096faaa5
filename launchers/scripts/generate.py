"""Answer prompts with a model, streaming.

Runs inside the training environment: `python generate.py SPEC` with SPEC as JSON: `model`, `adapters` (folders, all on
this one model), `device` (cuda or cpu), `trust_remote_code`, `dtype` (auto: the model's own), `bits` (4, 8 or null),
`compute_dtype` (of layers in 4 bits) and `offload_folder` (or null).
It speaks as request_lines.py says; where an adapter does not fit the model, its only line is {"misfit": words,
"whole": bool, "adapter": number}. A request is `segments` (texts and {"token": name}; or messages, where a
`chat_template` is given that renders them), `adapter` (the number of one, from 0; null: answer as the base does),
`stop` (what ends an answer, tokens or texts), `max_new_tokens`, `temperature` (0: greedy), `top_k` (0: all), `top_p`,
`repetition_penalty` and `seed`. It is answered by lines {"text": piece} and a last one, {"end": WHY}, {"error":
sentence}, or {"tokens": n, "limit": n} for a prompt that is too long. Where `margins` are asked for, the last line has
as "tokens" the answer's ids, and as "margins" how far each was ahead of the second, in standard deviations of all
logits. WHY is "stop", "length" (of max_new_tokens),
"full" (the model takes no more) or "interrupted".

A request with `prompts`, and `batch_size` (null: by their length), in place of `segments` is answered many at a time,
the longest prompts first: a line {"index", "text", "finish"}, and the "prompt" that a chat template has rendered, for
each prompt once it is answered, where `finish` may also be "too_long", for a prompt that leaves no room, and {"end":
"stop"}.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from adapter_fit import MisfitError, load_adapter_onto
from prompts import Write, batch_answer, context_length, encode_prompt, read_batch, stop_token_ids
from request_lines import RefusedError, Respond, answer_requests
from safetensors import safe_open
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
    """Return tokenizer and model, with the adapters on it; ends where torch sees no GPU.

    Raises RefusedError where one of them does not fit it.
    """
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
    for number, adapter in enumerate(spec["adapters"]):
        try:
            model = load_adapter_onto(model, adapter, _adapter_name(number), **offload)
        except MisfitError as error:
            raise RefusedError({"misfit": str(error), "whole": error.whole, "adapter": number}) from error
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
        config not in MODEL_FOR_CAUSAL_LM_MAPPING or any(map(_adapts_inner_model, spec["adapters"]))
    ):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _adapts_inner_model(adapter: str) -> bool:
    """Tell whether the adapter is of a text model within another."""
    file = Path(adapter, "adapter_model.safetensors")
    if not file.is_file():
        return False
    with safe_open(file, "pt") as tensors:
        return any(".language_model." in name for name in tensors.keys())  # noqa: SIM118 - no dict


def _adapter_name(number: int) -> str:
    return f"adapter{number}"


@contextlib.contextmanager
def switched_to(model: Any, adapter: int | None) -> Iterator[None]:
    """Have the adapter of this number answer, None: the base without any."""
    if not hasattr(model, "disable_adapter"):  # a model that was loaded without
        yield
    elif adapter is None:
        with model.disable_adapter():
            yield
    else:
        model.set_adapter(_adapter_name(adapter))
        yield


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
    ids, limit = encode_prompt(tokenizer, request, request["segments"]), context_length(model.config)
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

    margins: list[float] = []

    def keep_margin(_: Any, logits: Any) -> Any:
        first, second = logits[0].float().topk(2).values.tolist()
        margins.append((first - second) / (logits[0].float().std().item() or 1.0))
        return logits

    with torch.inference_mode(), switched_to(model, request["adapter"]):
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            streamer=streamer,
            stopping_criteria=[is_over],
            logits_processor=[keep_margin] if request.get("margins") else [],
            **generation_arguments(tokenizer, request, min(left, request["max_new_tokens"]), stops),
        )
    more = {"tokens": output[0, len(ids) :].tolist(), "margins": margins} if margins else {}
    if streamer.stopped or output[0, -1].item() in stops:
        write({"end": "stop", **more})
    elif interrupted():
        write({"end": "interrupted", **more})
    else:
        write({"end": "length" if left >= request["max_new_tokens"] else "full", **more})


def answer_all(
    tokenizer: Any, model: Any, request: dict[str, Any], write: Write, interrupted: Callable[[], bool] = bool
) -> None:
    """Answer many prompts, each as `answer` would, in batches of prompts about as long, until `interrupted`."""
    prompts, limits, waiting, stops, shown = read_batch(tokenizer, request, context_length(model.config), write)
    most = MOST_PROMPTS
    while waiting and not interrupted():
        longest, limit = len(prompts[waiting[0]]), limits[waiting[0]]
        fitting = max(1, MOST_TOKENS[model.device.type] // (longest + limit))
        # Beside a longer prompt, one near the model's limit would have less room for its answer than alone.
        batch = [index for index in waiting[: min(most, request["batch_size"] or fitting)] if limits[index] == limit]
        arguments = generation_arguments(tokenizer, request, limit, stops)
        with switched_to(model, request["adapter"]):
            answers = generate_batch(model, [prompts[index] for index in batch], arguments)
        if answers is None:
            most = len(batch) // 2
            continue
        for index, ids in zip(batch, answers, strict=True):
            write({"index": index, **batch_answer(tokenizer, ids, stops, request, limit), **shown[index]})
        waiting = waiting[len(batch) :]
    write({"end": "stop"})


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


def load(spec: dict[str, Any]) -> Respond:
    """Load the model, and return what answers a request with it."""
    tokenizer, model = load_model(spec)

    def respond(request: dict[str, Any], write: Write, interrupted: Callable[[], bool]) -> None:
        (answer_all if "prompts" in request else answer)(tokenizer, model, request, write, interrupted)

    return respond


if __name__ == "__main__":
    answer_requests(load, transformers.__version__)
