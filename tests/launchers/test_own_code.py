"""Which environment a model runs in, by its config.json."""

import json
import subprocess
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.dialogue.generation import Sampling
from ftbridge.launchers.environment import default_folder
from ftbridge.launchers.own_code import interpreter_for, known_classes

from ..conftest import SMALL  # noqa: TID252
from .made_environments import make_environment

# InternLM 2.5's, InternLM 3's and GLM-4's configs as published, as far as this depends on them.
AUTO_MAP = {"AutoConfig": "configuration.Config", "AutoModelForCausalLM": "modeling.ForCausalLM"}
INTERNLM2 = {"model_type": "internlm2", "transformers_version": "4.41.0", "auto_map": AUTO_MAP}
INTERNLM3 = {"model_type": "internlm3", "transformers_version": "4.47.1", "auto_map": AUTO_MAP}
QWEN35 = {"model_type": "qwen3_5", "transformers_version": "4.57.0.dev0"}
OF_THIS_YEAR = {"model_type": "kimi_k3", "transformers_version": "5.9.0", "auto_map": AUTO_MAP}


@pytest.fixture
def first(tmp_path, monkeypatch):
    """Return the interpreter of the first environment, whose transformers knows three classes."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    python = make_environment(default_folder())
    auto = python.parents[1] / "lib/python3.11/site-packages/transformers/models/auto"
    auto.mkdir(parents=True)
    known = "".join(f'        ("{kind}", "Config"),\n'.replace("Config", "AnyConfig") for kind in KNOWN)
    (auto / "auto_mappings.py").write_text(f"CONFIG_MAPPING_NAMES = OrderedDict(\n    [\n{known}    ]\n)\n")
    return python


KNOWN = ("qwen2", "qwen3_5", "internlm3")


@pytest.fixture
def second(first):
    """Return the interpreter of the second environment."""
    return make_environment(default_folder("transformers4"), "transformers4")


def chosen(folder, config, *, trust=False, **settings):
    """Return the interpreter for a model with this config."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(config))
    project = Project(folder, Settings(backends={"xtuner": BackendSettings(**settings)} if settings else {}))
    return interpreter_for(project, "xtuner", model, trust_remote_code=trust)


@pytest.mark.parametrize(
    ("config", "trust", "is_second"),
    [
        ({"model_type": "qwen2"}, False, False),
        (QWEN35, False, False),
        (INTERNLM2, True, True),
        (INTERNLM2, False, True),
        (INTERNLM3, False, False),  # a class of transformers 5: its own code is not needed
        (INTERNLM3, True, True),
        (OF_THIS_YEAR, True, False),
        ({**INTERNLM2, "transformers_version": None}, True, True),
        ({}, False, False),
    ],
)
def test_code_of_before_transformers_5_runs_in_the_second_environment(
    tmp_path, first, second, config, trust, is_second
):
    assert chosen(tmp_path, config, trust=trust) == (second if is_second else first)


def test_without_the_second_environment_the_message_says_how_to_make_it(tmp_path, first):
    wanted = r"the code in `.*/model` breaks under transformers 5: .*`ftbridge setup --environment transformers4`"
    with pytest.raises(SetupError, match=wanted):
        chosen(tmp_path, INTERNLM2, trust=True)


def test_a_python_of_the_users_serves_where_it_has_the_right_transformers(tmp_path, first):
    own = make_environment(tmp_path / "own", "transformers4")
    assert chosen(tmp_path, INTERNLM2, python=str(own)) == own
    assert chosen(tmp_path, INTERNLM2, python_transformers4=str(own)) == own
    assert chosen(tmp_path, QWEN35, python_transformers4=str(own)) == first


def test_a_class_that_no_environment_knows_is_one_sentence(tmp_path, first, second):
    with pytest.raises(InputError, match=r"model_type `qwen9`, which transformers 5\.24\.0 does not know, .*no code"):
        chosen(tmp_path, {"model_type": "qwen9"})


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_a_kernel_of_a_hub_is_code_that_must_be_trusted(tmp_path, first, key):
    named = {key: "kernels-community/flash-attn"}
    for config in ({**QWEN35, **named}, {**QWEN35, "text_config": named}):
        with pytest.raises(InputError, match=r"`kernels-community/flash-attn`, which is code .*--trust-remote-code"):
            chosen(tmp_path, config)
        assert chosen(tmp_path, config, trust=True) == first
    assert chosen(tmp_path, {**QWEN35, key: "flash_attention_2"}) == first


@pytest.mark.framework
def test_the_classes_are_read_from_either_transformers(training_python):
    newest = known_classes(training_python)
    assert {"qwen2", "qwen3_5", "gemma3_text", "glm4_moe", "internlm3"} < newest
    assert not {"internlm2", "chatglm", "baichuan"} & newest
    older = training_python.parents[2] / "training-transformers4" / "bin" / "python"
    if older.exists():
        assert {"qwen2", "gemma3_text"} < known_classes(older)
        assert "internlm3" not in known_classes(older)


@pytest.fixture(scope="module")
def internlm2(project):
    """Return a tiny InternLM 2 with code of its own, in the shared project."""
    python = default_folder("transformers4") / "bin" / "python"
    if not python.exists():
        pytest.fail("the second environment is missing: run `ftbridge setup --environment transformers4`")
    program = Path(__file__).with_name("make_internlm2.py")
    subprocess.run([python, program, project / "base", project / "internlm2"], check=True)
    return project / "internlm2"


@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_internlm2_is_trained_and_asked_in_the_second_environment(in_project, internlm2, backend):
    options = SMALL | {"model": "internlm2", "backend": backend, "dataset": "medqa", "trust_remote_code": True}
    run = ftbridge.train(**options)
    assert run.environment == "transformers4"
    assert run.versions["transformers"].startswith("4.")
    asked = ftbridge.predict(run.id, "medqa-test", limit=2, max_new_tokens=4)
    assert asked.asked == 2
    merged = ftbridge.merge(run.id)
    assert (merged / "modeling_internlm2.py").is_file()
    assert isinstance(ftbridge.chat(run.id, "What is aspirin for?", sampling=Sampling(max_new_tokens=4)), str)
