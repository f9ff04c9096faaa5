"""What vLLM is asked, its own classes played by stand-ins; tests/evaluation/answers/test_vllm.py asks vLLM itself."""

import json
import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

# A vLLM that answers the first token of a prompt, one more each step, and ends at the token 7.
SCRIPT = """
import json, sys, types
sys.path.insert(0, sys.argv[1])

class SamplingParams:
    def __init__(self, **given):
        self.given = given

class Engine:
    model_config = types.SimpleNamespace(max_model_len=12, hf_config=types.SimpleNamespace())
    model_config.hf_config.get_text_config = lambda: types.SimpleNamespace(max_position_embeddings=10)

    def __init__(self):
        self.waiting, self.most, self.sampling, self.aborted, self.adapters = {}, 0, [], [], set()

    def add_request(self, name, prompt, sampling, lora_request):
        assert set(prompt) == {"prompt_token_ids"}
        self.waiting[name] = (prompt["prompt_token_ids"], sampling.given)
        self.most = max(self.most, len(self.waiting))
        self.sampling.append(sampling.given)
        self.adapters.add(lora_request)

    def step(self):
        name = next(iter(self.waiting))
        ids, sampling = self.waiting.pop(name)
        said = ([len(ids)] * 3 + [7])[: sampling["max_tokens"]]
        output = types.SimpleNamespace(token_ids=said, finish_reason=reason)
        return [types.SimpleNamespace(request_id=name, finished=True, outputs=[output])]

    def abort_request(self, names):
        self.aborted += names
        self.waiting = {name: each for name, each in self.waiting.items() if name not in names}

reason = "stop"
fake = types.ModuleType("vllm")
fake.SamplingParams = SamplingParams
for name in ("vllm.lora", "vllm.lora.request"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["vllm"] = fake
sys.modules["vllm.lora.request"].LoRARequest = tuple

import vllm_generate

vllm_generate.WAITING = 2
tokenizer = types.SimpleNamespace(
    encode=lambda text, **_: [1] * len(text), decode=lambda ids, **_: str(ids), eos_token_id=7,
    unk_token_id=0, unk_token="?",
    convert_tokens_to_ids=lambda name: None,
)
request = {"number": 3, "prompts": [["a" * length] for length in (1, 2, 8, 10, 3)], "stop": ["]!"], "seed": 5,
           "max_new_tokens": 4, "repetition_penalty": 1.0}
engine, written = Engine(), []
vllm_generate.answer_all(tokenizer, engine, request, "an adapter", written.append, lambda: False)
interrupted, left = Engine(), []
vllm_generate.answer_all(tokenizer, interrupted, request, None, left.append, lambda: len(left) > 2)
reason = "abort"
try:
    vllm_generate.answer_all(tokenizer, Engine(), request, None, left.append, lambda: False)
except RuntimeError as error:
    said = str(error)
spec = {"device": "cuda", "dtype": "auto", "trust_remote_code": False, "gpus": 2, "memory_share": 0.5,
        "adapters": ["a", "b"], "max_lora_rank": 64}
arguments = [vllm_generate.engine_arguments(spec, version) for version in ("0.11.0", "0.14.1rc1", "1.0.0")]
arguments.append(vllm_generate.engine_arguments({**spec, "device": "cpu", "adapters": []}, "0.32.0"))
told = [written, engine.most, engine.sampling, list(engine.adapters), left, interrupted.aborted, said, arguments]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(training_python):
    argv = [training_python, "-c", SCRIPT, SCRIPTS]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.framework
def test_answers_come_as_they_are_done_the_longest_prompts_first(told):
    written, most, sampling, adapters, *_ = told
    assert written == [
        {"index": 3, "text": "", "finish": "too_long"},
        {"index": 2, "text": "[8, 8]", "finish": "full"},
        {"index": 4, "text": "[3, 3, 3]", "finish": "stop"},
        {"index": 1, "text": "[2, 2, 2]", "finish": "stop"},
        {"index": 0, "text": "[1, 1, 1]", "finish": "stop"},
        {"end": "stop"},
    ]
    assert (most, adapters) == (2, ["an adapter"])
    assert [each["max_tokens"] for each in sampling] == [2, 4, 4, 4]


@pytest.mark.framework
def test_nothing_is_left_to_the_defaults_of_the_model(told):
    sampling, arguments = told[2], told[-1]
    assert sampling[0] == {
        "n": 1, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 5, "max_tokens": 2, "min_tokens": 0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "ignore_eos": True,
        "stop_token_ids": [7], "stop": ["]!"], "skip_special_tokens": True,
    }  # fmt: skip
    assert {each["generation_config"] for each in arguments} == {"vllm"}


@pytest.mark.framework
def test_the_context_is_fitted_to_the_gpu_by_versions_that_can(told):
    old, new, newer, cpu = told[-1]
    assert [each.get("max_model_len") for each in (old, new, newer, cpu)] == [None, -1, -1, None]
    assert (new["max_lora_rank"], new["max_cpu_loras"], new["tensor_parallel_size"]) == (64, 2, 2)
    assert (new["gpu_memory_utilization"], new["enforce_eager"]) == (0.5, False)
    assert (cpu["enforce_eager"], "enable_lora" in cpu, "gpu_memory_utilization" in cpu) == (True, False, False)


@pytest.mark.framework
def test_what_nobody_waits_for_is_ended_and_what_vllm_cuts_is_no_answer(told):
    left, aborted, said = told[4:7]
    assert left[:3] == [
        {"index": 3, "text": "", "finish": "too_long"},
        {"index": 2, "text": "[8, 8]", "finish": "full"},
        {"index": 4, "text": "[3, 3, 3]", "finish": "stop"},
    ]
    assert sorted(aborted) == ["3-0", "3-1"]
    assert said == "vLLM ended an answer by itself (abort)"
