"""Who is asked, and several adapters of one base."""

import json
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.dialogue.generation import ADAPTER, Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.evaluation.answers.engines import engine as engine_module
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.evaluation.answers.engines.engine import Engine, choose_engine, open_engine
from ftbridge.launchers.process import script
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard, card_of
from ftbridge.weights.source import resolve

TEMPLATE = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
CARD = ModelCard(base="", family="qwen2.5", backend="xtuner", template=TEMPLATE, system="", thinking="none")
CHILD = """print('{"ready": true, "version": "%s"}', flush=True); input()"""


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Return a function that opens an engine, whose programs are stand-ins, and returns its name and version."""
    monkeypatch.setattr(script, "SCRIPTS", tmp_path)
    monkeypatch.setattr(engine_module, "interpreter_for", lambda *_, **__: Path(sys.executable))
    for program in ("generate", "vllm_generate"):
        (tmp_path / f"{program}.py").write_text(CHILD % program)
    (tmp_path / "adapter_config.json").write_text("{}")
    settings = {"vllm": BackendSettings(python=sys.executable), "xtuner": BackendSettings(python=sys.executable)}

    def open_one(loading=None, name="auto", **backends):
        project = Project(tmp_path, Settings(backends=settings | backends))
        adapters, loading = {ADAPTER: tmp_path}, loading or Loading()
        chosen = choose_engine(project, adapters.values(), loading, name)
        with open_engine(chosen, project, CARD, tmp_path, adapters, (), loading) as found:
            engine: Engine = found
            return engine.name, engine.version

    return open_one


def test_vllm_answers_where_the_settings_name_it(opened, capsys):
    assert opened() == ("vllm", "vllm_generate")
    assert opened(name="transformers") == ("transformers", "generate")
    assert opened(vllm=BackendSettings()) == ("transformers", "generate")
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"names no Python that has vLLM: add `backends: {vllm: {python: PATH}}`"):
        opened(name="vllm", vllm=BackendSettings())


def test_what_vllm_does_not_take_is_answered_by_transformers_and_this_is_said(opened, capsys):
    assert opened(Loading(bits=4)) == ("transformers", "generate")
    assert "note: transformers answers instead of vLLM: vLLM cannot load weights in 4 bits" in capsys.readouterr().err
    with pytest.raises(ValueError, match="vLLM cannot answer: vLLM cannot load weights in 4 bits"):
        opened(Loading(bits=4), name="vllm")


def test_a_server_is_an_engine():
    engine: Engine = Endpoint("http://localhost:8000", "tiny")
    assert (engine.name, engine.address, engine.version) == ("endpoint", "http://localhost:8000/v1", "")


def stronger(adapter, out, factor):
    """Write an adapter that changes its base `factor` times as much."""
    shutil.copytree(adapter, out)
    with (out / "adapter_model.safetensors").open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        tensors = json.loads(file.read(size))
        for name, tensor in tensors.items():
            if ".lora_B." in name:
                assert tensor["dtype"] == "F32"
                begin, end = tensor["data_offsets"]
                file.seek(8 + size + begin)
                values = np.frombuffer(file.read(end - begin), np.float32) * np.float32(factor)
                file.seek(8 + size + begin)
                file.write(values.tobytes())
    return out


@pytest.mark.framework
def test_several_adapters_of_a_base_answer_as_each_does_alone(trained, in_project, training_python, tmp_path):
    run = trained(backend="xtuner")
    card, own = card_of(resolve(run.id)), ftbridge.export(run.id, out=tmp_path / "own")
    adapters = {"own": own, "run-1/checkpoint.5": stronger(own, tmp_path / "strong", 99)}
    asked = [[(f"{'what is aspirin for? ' * (number % 3)}{number}", None)] for number in range(6)]
    answers = {}

    def ask(generator, adapter):
        prompts = [generator.prompt_for(card.system, turns, card) for turns in asked]
        found = generator.batch(prompts, card.stop, Sampling(max_new_tokens=9), 3, adapter=adapter)
        return [each[1:] for each in sorted(found)]

    def load(adapter):
        return Generator(training_python, card, Path(card.base), adapter, (), Loading(dtype="float32"))

    with load(adapters) as together:
        for name in (*adapters, None, *adapters):
            found = ask(together, name)
            assert answers.setdefault(name, found) == found
    assert len({str(found) for found in answers.values()}) == 3
    for name, folder in {**adapters, None: None}.items():
        with load(folder) as alone:
            assert ask(alone, ADAPTER) == answers[name]
