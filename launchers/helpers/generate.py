"""Answer prompts with a model, streaming: the one place where ftbridge generates.

Runs inside the training environment: `python generate.py SPEC` with SPEC as JSON: `model`, `adapter` (or null),
`device`, `trust_remote_code`. Then one JSON object a line on stdin: `segments` (texts and {"token": name}), `stop`
(tokens), `max_new_tokens`, `temperature` (0: greedy), `seed`; on stdout {"ready": true} once, and for each
request lines {"text": piece} and a last one {"end": "stop" | "length"} or {"error": sentence}.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer, set_seed

Write = Callable[[dict[str, Any]], None]


class Pieces(TextStreamer):
    """Hands on the text as it becomes certain."""

    def __init__(self, tokenizer: Any, write: Write) -> None:
        """Stream what `tokenizer` decodes to `write`, without the prompt and the special tokens."""
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.write = write

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002 - its name is theirs
        """Write a piece."""
        if text:
            self.write({"text": text})


def load(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Return tokenizer and model, in the model's own dtype."""
    remote = {"trust_remote_code": spec["trust_remote_code"]}
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], **remote)
    place = {"device_map": "auto"} if spec["device"] == "cuda" else {}
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype="auto", **place, **remote)
    if spec["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, spec["adapter"])
    return tokenizer, model.eval()


def encode(tokenizer: Any, segments: list[Any]) -> list[int]:
    """Return the prompt's ids: each text by itself, as training encodes it."""
    ids: list[int] = []
    for segment in segments:
        if isinstance(segment, str):
            ids += tokenizer.encode(segment, add_special_tokens=False)
        else:
            ids.append(tokenizer.convert_tokens_to_ids(segment["token"]))
    return ids


def answer(tokenizer: Any, model: Any, request: dict[str, Any], write: Write) -> None:
    """Generate one answer and write it, piece by piece."""
    set_seed(request["seed"])
    ids = encode(tokenizer, request["segments"])
    limit = getattr(model.config, "max_position_embeddings", None)
    room = request["max_new_tokens"] if not limit else min(request["max_new_tokens"], limit - len(ids))
    if room < 1:
        write({"error": f"the conversation has {len(ids)} tokens; the model takes {limit}: begin a new one"})
        return
    known = [tokenizer.convert_tokens_to_ids(token) for token in request["stop"]]
    stops = {token for token in [*known, tokenizer.eos_token_id] if isinstance(token, int)} - {tokenizer.unk_token_id}
    sampling = {"do_sample": True, "temperature": request["temperature"]} if request["temperature"] else {
        "do_sample": False, "temperature": None, "top_p": None, "top_k": None,
    }  # fmt: skip
    inputs = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=room,
            eos_token_id=sorted(stops),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stops),
            streamer=Pieces(tokenizer, write),
            **sampling,
        )
    write({"end": "stop" if output[0, -1].item() in stops else "length"})


def main() -> None:
    """Answer requests until stdin ends; libraries that print do so on stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record) + "\n")
        stream.flush()

    tokenizer, model = load(json.loads(sys.argv[1]))
    write({"ready": True})
    for line in sys.stdin:
        answer(tokenizer, model, json.loads(line), write)


if __name__ == "__main__":
    main()
