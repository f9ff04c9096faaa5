"""Answer prompts with vLLM, many at once.

Runs in an environment of its own: `python vllm_generate.py SPEC` with SPEC as generate.py has it, and `max_lora_rank`,
`memory_share` (of a GPU's memory, null: vLLM's own) and `gpus` (over how many the model is shared out). It speaks as
request_lines.py says, and answers requests with `prompts` as generate.py does: greedily, each at once when it is done.

Nothing but the request decides how is sampled: vLLM takes what is not given from the model's generation_config.json.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

# Before vLLM is imported: no statistics are sent, nothing is fetched.
os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
# GiB for what is asked, where there is no GPU: vLLM would want nearly all memory.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")

import vllm
from prompts import Write, batch_answer, context_length, read_batch
from request_lines import Respond, answer_requests
from transformers import AutoTokenizer
from vllm.lora.request import LoRARequest

# Requests that vLLM has at a time: more than it computes at once, and few enough to be told of an interruption.
WAITING = 1024
FITS_CONTEXT = (0, 14)  # the version from which on vLLM finds the longest context that a GPU has room for


def load(spec: dict[str, Any]) -> Respond:
    """Load tokenizer and model, and return what answers a request with them."""
    # As this project loads it everywhere: prompts are encoded here, and vLLM is given tokens alone.
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], trust_remote_code=spec["trust_remote_code"])
    try:
        engine = vllm.LLM(spec["model"], **engine_arguments(spec, vllm.__version__)).llm_engine
    except RuntimeError as error:
        sys.exit(root_cause() or str(error))
    adapters = [LoRARequest(f"adapter{number}", number + 1, path) for number, path in enumerate(spec["adapters"])]

    def respond(request: dict[str, Any], write: Write, interrupted: Callable[[], bool]) -> None:
        adapter = None if request["adapter"] is None else adapters[request["adapter"]]
        answer_all(tokenizer, engine, request, adapter, write, interrupted)

    return respond


def root_cause() -> str:
    """Return the first error that a process of vLLM's wrote: what is raised here says no more than "see above"."""
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(2).st_mode):
            written = Path("/proc/self/fd/2").read_text("utf-8", "replace")
            found = re.search(r"\] ((?:[\w.]+\.)?\w+Error: .*)", written)
            return found[1] if found else ""
    return ""


def engine_arguments(spec: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM`."""
    on_gpu = spec["device"] == "cuda"
    arguments = {
        "dtype": spec["dtype"],
        "trust_remote_code": spec["trust_remote_code"],
        "generation_config": "vllm",  # none of the model's own
        "seed": 0,
        "tensor_parallel_size": spec["gpus"],
        "enforce_eager": not on_gpu,  # what is compiled for a processor takes longer than it saves
    }
    if spec["adapters"]:
        count = len(spec["adapters"])
        arguments |= {"enable_lora": True, "max_lora_rank": spec["max_lora_rank"], "max_cpu_loras": count}
    if on_gpu and spec["memory_share"]:
        arguments["gpu_memory_utilization"] = spec["memory_share"]
    # Elsewhere a GPU without room for the model's whole context is refused; a processor would get 512 tokens.
    if on_gpu and tuple(int(part) for part in version.split(".")[:2]) >= FITS_CONTEXT:
        arguments["max_model_len"] = -1
    return arguments


def sampling(request: dict[str, Any], stops: list[int], limit: int) -> vllm.SamplingParams:
    """Return how an answer is chosen: greedily, until one of the tokens `stops` or a text of `stop`."""
    return vllm.SamplingParams(
        n=1, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=request["seed"], max_tokens=limit, min_tokens=0,
        repetition_penalty=request["repetition_penalty"], presence_penalty=0.0, frequency_penalty=0.0,
        # The tokenizer's own is among `stops`; vLLM would add others.
        ignore_eos=True, stop_token_ids=stops, stop=request["stop"], skip_special_tokens=True,
    )  # fmt: skip


def answer_all(
    tokenizer: Any,
    engine: Any,
    request: dict[str, Any],
    adapter: LoRARequest | None,
    write: Write,
    interrupted: Callable[[], bool],
) -> None:
    """Answer many prompts, the longest first, each as soon as it is done, until `interrupted`."""
    longest = engine.model_config.max_model_len
    context = min(context_length(engine.model_config.hf_config) or longest, longest)
    batch = read_batch(tokenizer, request, context, write)
    waiting, running = iter(batch.waiting), dict[str, int]()

    def start() -> None:
        for index in islice(waiting, WAITING - len(running)):
            name, prompt = f"{request['number']}-{index}", {"prompt_token_ids": batch.prompts[index]}
            chosen = sampling(request, batch.stops, batch.limits[index])
            engine.add_request(name, prompt, chosen, lora_request=adapter)
            running[name] = index

    start()
    while running and not interrupted():
        for name, ids in finished(engine, running):
            index = running.pop(name)
            said = batch_answer(tokenizer, ids, batch.stops, request, batch.limits[index])
            write({"index": index, **said, **batch.shown[index]})
        start()
    if running:
        engine.abort_request([*running])
    write({"end": "stop"})


def finished(engine: Any, names: Collection[str]) -> list[tuple[str, list[int]]]:
    """Compute a step, and return the tokens of each request in `names` that is done; RuntimeError for one cut off."""
    found = []
    for output in engine.step():
        if output.finished and output.request_id in names:  # not of a request that was interrupted
            (answer,) = output.outputs
            if answer.finish_reason not in {"stop", "length"}:
                raise RuntimeError(f"vLLM ended an answer by itself ({answer.finish_reason})")
            found.append((output.request_id, list(answer.token_ids)))
    return found


if __name__ == "__main__":
    answer_requests(load, vllm.__version__)
