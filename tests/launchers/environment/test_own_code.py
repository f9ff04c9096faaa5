"""Which environment a model runs in, by its config.json."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.project import BackendSettings, Project, Settings
from ftbridge.dialogue.generation import Sampling
from ftbridge.launchers.environment.own_code import interpreter_for, is_code_trusted, known_model_types
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.record import load_run
from ftbridge.templates.families import get_family

from ...builders.environments import make_environment  # noqa: TID252
from ...builders.runs import record_run  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252

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


def test_missing_second_environment_is_refused_with_the_setup_command(tmp_path, first):
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


@pytest.fixture
def own(tmp_path):
    """Return a signed run whose model brings code that the user trusted, and a merged model with the same."""
    for name in ("model", "merged"):
        (tmp_path / name / "parts").mkdir(parents=True)
        (tmp_path / name / "modeling.py").write_text("ours = 1")
        (tmp_path / name / "parts" / "more.py").write_text("ours = 2")
        config = {**INTERNLM2, "auto_map": {**AUTO_MAP, "AutoTokenizer": ["me/base--tokens.Slow", None]}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    run = record_run(Project(tmp_path, Settings()), "one", trust_remote_code=True)
    model = tmp_path / "model"
    return msgspec.structs.replace(run, model=str(model), base=fingerprint(model)).save()


def test_code_runs_where_the_user_says_so_or_has_for_a_run_of_ours(own, tmp_path, capsys):
    models = [tmp_path / "merged", tmp_path / "model"]
    assert is_code_trusted(own, models, trust_remote_code=False)
    assert is_code_trusted(None, models, trust_remote_code=True)
    assert not is_code_trusted(None, models, trust_remote_code=False)
    untrusted = msgspec.structs.replace(own.spec, trust_remote_code=False)
    assert not is_code_trusted(msgspec.structs.replace(own, spec=untrusted), models, trust_remote_code=False)
    assert capsys.readouterr().err == ""


def test_unsigned_record_does_not_make_its_code_trusted(own, tmp_path, capsys):
    file = own.path / "run.json"
    file.write_text(file.read_text().replace('"pid"', '"and": 1, "pid"'))
    foreign = load_run(own.path)
    assert not is_code_trusted(foreign, [tmp_path / "model"], trust_remote_code=False)
    said = capsys.readouterr().err
    assert "its record is not signed by this machine" in said
    assert "`--trust-remote-code`" in said
    assert is_code_trusted(foreign, [tmp_path / "model"], trust_remote_code=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["modeling.py", "parts/more.py", "new.py", "config.json", "tokenizer_config.json"])
def test_code_that_differs_from_the_trained_models_is_not_trusted(own, tmp_path, capsys, name):
    other = {"AutoTokenizer": ["theirs/base--tokens.Slow", None], "AutoConfig": "theirs/base--any.Config"}
    content = json.dumps({"auto_map": other}) if name.endswith("json") else "theirs = 1"
    (tmp_path / "merged" / name).write_text(content)
    assert not is_code_trusted(own, [tmp_path / "model", tmp_path / "merged"], trust_remote_code=False)
    assert f"`{tmp_path / 'merged' / name}` is not what it was trained with" in capsys.readouterr().err
    assert is_code_trusted(own, [tmp_path / "model"], trust_remote_code=False)


def test_code_of_the_base_that_was_changed_since_is_not_trusted(own, tmp_path, capsys):
    code = tmp_path / "model" / "parts" / "more.py"
    code.write_text("theirs = 1")
    assert not is_code_trusted(own, [tmp_path / "model"], trust_remote_code=False)
    assert f"`{code}` is not what it was trained with" in capsys.readouterr().err


def test_run_without_a_record_of_its_code_trusts_none(own, tmp_path, capsys):
    assert not is_code_trusted(msgspec.structs.replace(own, base=None), [tmp_path / "model"], trust_remote_code=False)
    assert "does not say with which code" in capsys.readouterr().err


def test_pipe_in_the_place_of_model_code_is_not_waited_for(own, tmp_path):
    file = tmp_path / "merged" / "modeling.py"
    file.unlink()
    os.mkfifo(file)
    assert not is_code_trusted(own, [tmp_path / "merged"], trust_remote_code=False)


def test_code_of_a_model_whose_base_is_gone_is_not_trusted(own, tmp_path):
    (tmp_path / "model").rename(tmp_path / "gone")
    assert not is_code_trusted(own, [tmp_path / "merged"], trust_remote_code=False)


# Where it is imported, a file beside it says so.
EVIL = """
from pathlib import Path
from transformers import Qwen2Config, Qwen2ForCausalLM
Path(r"MARKER").touch()
class Config(Qwen2Config):
    model_type = "evil"
class Model(Qwen2ForCausalLM):
    config_class = Config
"""


@pytest.fixture
def evil(in_project, tmp_path):
    """Return a model folder with code of its own that asks by its card to be trusted, and what its code makes."""
    folder, marker = tmp_path / "evil", tmp_path / "ran"
    shutil.copytree(in_project / "base", folder)
    (folder / "ev.py").write_text(EVIL.replace("MARKER", str(marker)))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "ev.Config", "AutoModelForCausalLM": "ev.Model"}
    config["transformers_version"] = "5.24.0"
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    prompt = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
    card = {"base": str(folder), "family": "qwen2.5", "backend": "xtuner", "template": prompt, "system": ""}
    card |= {"thinking": "none", "trust_remote_code": True}
    (folder / "ftbridge.json").write_text(json.dumps(card))
    return folder, marker


@pytest.mark.framework
def test_a_folder_that_asks_for_its_code_to_be_run_is_refused_until_the_user_asks(evil, in_project):
    folder, marker = evil
    asked = {"limit": 1, "max_new_tokens": 2, "out": folder.with_name("out")}
    with pytest.raises(InputError, match=r"comes with Python code of its own.* `--trust-remote-code`"):
        ftbridge.chat(folder, "hi")
    with pytest.raises(InputError, match=r"`--trust-remote-code`"):
        ftbridge.predict(folder, "medqa-test", **asked)
    assert not marker.exists()
    ftbridge.chat(folder, "hi", sampling=Sampling(max_new_tokens=2), trust_remote_code=True)
    assert marker.exists()
    marker.unlink()
    ftbridge.predict(folder, "medqa-test", trust_remote_code=True, **asked)
    assert marker.exists()


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
    newest = known_model_types(training_python)
    assert {"qwen2", "qwen3_5", "gemma3_text", "glm4_moe", "internlm3"} < newest
    assert not {"internlm2", "chatglm", "baichuan"} & newest
    older = training_python.parents[2] / "training-transformers4" / "bin" / "python"
    if older.exists():
        assert {"qwen2", "gemma3_text"} < known_model_types(older)
        assert "internlm3" not in known_model_types(older)


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
