"""The model's folder: whole, of a known kind, and with a tokenizer that the framework loads."""

import json

import msgspec
import pytest

from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import shapes
from ftbridge.launchers.preflight.model import (
    ask_about_template,
    folder_checks,
    shapes_in_memory,
    template_checks,
    tokenizer_checks,
)
from ftbridge.templates.families import get_family, load_families

from ...builders.models import CONFIG, TENSORS, write_model, write_tensors  # noqa: TID252
from ...builders.plans import plan  # noqa: TID252


@pytest.fixture
def base(tmp_path):
    return write_model(tmp_path / "base")


def planned(base, family="qwen2.5", backend="xtuner", **spec):
    made = plan(**spec)
    spec = msgspec.structs.replace(made.spec, backend=backend)
    return msgspec.structs.replace(made, spec=spec, model=base, family=get_family(family))


def looked_at(base, config=CONFIG, tensors=TENSORS, transformers="4.57.1", **spec):
    """Return the checks of the folder that are not ok."""
    return [c for c in folder_checks(planned(base, **spec), config, tensors, transformers) if c.status != "ok"]


def tokenizer(base, kept=None, error="", transformers="4.57.1", **spec):
    (check,) = tokenizer_checks(planned(base, **spec), kept, error, transformers)
    return check


def split(base):
    """Put the weights into two shards with an index."""
    (base / "model.safetensors").unlink()
    names = list(TENSORS)
    files = {names[0]: "model-1.safetensors", names[1]: "model-2.safetensors", names[2]: "model-2.safetensors"}
    for file in set(files.values()):
        write_tensors(base / file, {name: TENSORS[name] for name in names if files[name] == file})
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return files


def test_a_whole_model_is_read_in_one_file_or_several(base):
    assert shapes(base) == TENSORS
    split(base)
    assert shapes(base) == TENSORS
    assert looked_at(base) == []


def test_a_shard_that_is_missing_or_cut_off_is_named(base):
    split(base)
    whole = (base / "model-2.safetensors").read_bytes()
    (base / "model-2.safetensors").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"model-2.safetensors`: the file is incomplete"):
        shapes(base)
    (base / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-2.safetensors`: the file is missing"):
        shapes(base)


def test_an_index_that_names_more_or_nothing_is_refused(base):
    files = split(base)
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {**files, "more.weight": "model-1.safetensors"}}))
    with pytest.raises(InputError, match=r"names 1 tensor that is in no file: `more.weight`"):
        shapes(base)
    index.write_text("{}")
    with pytest.raises(InputError, match="does not say where the weights are"):
        shapes(base)


def test_config_that_is_no_json_object_is_named(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="holds no JSON object"):
        read_json(tmp_path / "config.json")


def test_no_weights_fail_and_pickled_ones_warn(base):
    (base / "model.safetensors").unlink()
    assert shapes(base) == {}
    assert [check.status for check in looked_at(base, tensors={})] == ["failure"]
    (base / "pytorch_model.bin").touch()
    (check,) = looked_at(base, tensors={})
    assert (check.status, "pickled" in check.found) == ("warning", True)


def test_code_of_the_models_own_must_be_trusted(base):
    config = {**CONFIG, "auto_map": {"AutoConfig": "own.Config"}}
    (check,) = looked_at(base, config)
    assert "--trust-remote-code" in check.remedy
    assert looked_at(base, config, trust_remote_code=True) == []
    # InternLM 3 brings code, and transformers 5 has its class.
    model = planned(base)
    found = folder_checks(model, {**config, "model_type": "internlm3"}, TENSORS, "5.24.0", {"internlm3"})
    assert [check.status for check in found] == ["ok"]


def test_an_unsupported_family_is_a_warning(base):
    family = next(name for name, each in load_families().items() if each.status == "unsupported")
    (check,) = looked_at(base, family=family)
    assert (check.status, check.name) == ("warning", "model family")


@pytest.mark.parametrize(
    ("config", "transformers", "fails"),
    [
        ({"rope_parameters": {"rope_theta": 1e6}}, "4.57.1", True),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_theta": 1e6}, "4.57.1", False),
        ({"rope_parameters": {"rope_theta": 10000.0}}, "4.57.1", False),
        ({"rope_parameters": {"rope_theta": 1e6}}, "5.1.0", False),
        ({"rope_parameters": None}, "4.57.1", False),
    ],
)
def test_a_config_of_a_newer_transformers_loses_its_rotary_base(base, config, transformers, fails):
    found = looked_at(base, {**CONFIG, **config}, transformers=transformers)
    assert bool(found) is fails
    if fails:
        assert '"rope_theta": 1000000.0' in found[0].remedy


def test_a_tokenizer_that_is_absent_or_damaged_fails(base):
    assert tokenizer(base, error="EOF").status == "failure"
    (base / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in tokenizer(base).found
    (base / "tokenizer.model").touch()
    assert tokenizer(base).status == "ok"


@pytest.mark.parametrize(("transformers", "status"), [("4.57.1", "failure"), ("", "ok"), ("5.0.0", "ok")])
def test_a_tokenizer_class_of_a_newer_transformers_fails(base, transformers, status):
    (base / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend", "bos_token": "<s>"}')
    (base / "tokenizer.model").touch()
    assert tokenizer(base, transformers=transformers).status == status


MIXTURE = {
    "model.layers.0.mlp.experts.0.up_proj.weight": (8, 4),
    "model.layers.0.mlp.experts.1.up_proj.weight": (8, 4),
    "model.layers.0.mlp.shared_experts.up_proj.weight": (8, 4),
}
STACKED = {
    "model.layers.0.mlp.experts.up_proj.weight": (2, 8, 4),
    "model.layers.0.mlp.shared_experts.up_proj.weight": (8, 4),
}


@pytest.mark.parametrize(
    ("transformers", "config", "spec", "held"),
    [
        ("5.24.0", {}, {}, STACKED),
        ("4.57.1", {}, {}, MIXTURE),
        ("5.24.0", {"auto_map": {"AutoModel": "x.Y"}}, {}, STACKED),
        ("5.24.0", {"auto_map": {"AutoModel": "x.Y"}}, {"trust_remote_code": True}, MIXTURE),
    ],
)
def test_transformers_5_stacks_the_experts_of_a_layer(transformers, config, spec, held):
    assert shapes_in_memory(MIXTURE, plan(**spec), config, transformers) == held


@pytest.mark.parametrize(
    ("name", "config", "is_held"),
    [
        ("model.layers.1.mlp.up_proj.weight", {"num_hidden_layers": 1}, False),
        ("model.language_model.layers.1.mlp.up_proj.weight", {"text_config": {"num_hidden_layers": 1}}, False),
        ("model.layers.0.mlp.up_proj.weight", {"num_hidden_layers": 1}, True),
        ("model.layers.1.mlp.up_proj.weight", {"num_hidden_layers": "1"}, True),
        ("model.visual.layers.1.mlp.up_proj.weight", {"num_hidden_layers": 1}, True),
        ("mtp.layers.0.mlp.up_proj.weight", {"num_hidden_layers": 1}, False),
    ],
)
def test_layers_that_predict_further_tokens_are_not_loaded(name, config, is_held):
    assert (name in shapes_in_memory({name: (8, 4)}, plan(), config, "5.24.0")) is is_held


def template(base, family, vocabulary=("<|im_start|>", "<|im_end|>", "<tool_call>"), **spec):
    """Return the check of `--template FAMILY` for a Qwen 2.5 of this vocabulary."""
    (base / "tokenizer.json").write_text(json.dumps({"added_tokens": vocabulary}))
    (check,) = template_checks(planned(base, family, template=family, tokens="native", **spec))
    return check


def test_plan_without_a_template_has_no_template_findings(base):
    assert template_checks(planned(base)) == []


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_a_template_against_the_models_own_files_is_warned_of(base, backend):
    found = template(base, "llama3", backend=backend)
    assert found.status == "warning"
    assert found.found.startswith(
        "`--template llama3` is the prompt of Llama 3, and by its files the model is Qwen 2.5; "
    )
    for token in ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"):
        assert f"`{token}`" in found.found
    assert "leave `--template` out" in found.remedy
    assert template(base, "qwen3", backend=backend).found.endswith("by its files the model is Qwen 2.5")


def test_a_template_against_the_models_own_files_is_asked_about(base):
    template(base, "llama3")
    spec = planned(base, "llama3", template="llama3", tokens="native").spec
    with pytest.raises(QuestionError) as asked:
        ask_about_template(spec, base)
    assert asked.value.reason.startswith(
        "`--template llama3` is the prompt of Llama 3, and by its files the model is Q"
    )
    assert dict(asked.value.answers) == {
        "the model's own, Qwen 2.5": ["--template", "qwen2.5"],
        "the prompt of Llama 3 anyway": ["--yes"],
    }
    for same in ("qwen2.5", "chatml", None):
        ask_about_template(msgspec.structs.replace(spec, template=same), base)


def test_a_template_against_a_chat_template_of_no_known_family_is_asked_about(base):
    template(base, "qwen2.5")
    (base / "config.json").write_text(json.dumps({**CONFIG, "model_type": "own"}))
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    )
    with pytest.raises(QuestionError) as asked:
        ask_about_template(planned(base, "qwen2.5", template="qwen2.5", tokens="native").spec, base)
    assert asked.value.reason == (
        "`--template qwen2.5` is the prompt of Qwen 2.5, and the model's own chat template writes another"
    )
    assert [*asked.value.answers.values()] == [["--yes"]]


@pytest.mark.parametrize("family", ["qwen2.5", "qwen2", "chatml"])
def test_a_template_of_the_same_prompt_is_well(base, family):
    assert template(base, family).status == "ok"


def test_a_template_for_a_model_of_no_known_family_needs_its_tokens(base):
    (base / "config.json").write_text(json.dumps({**CONFIG, "model_type": "own"}))
    found = template(base, "llama3", ["<|begin_of_text|>", "<|eot_id|>"]).found
    assert found.startswith("its vocabulary lacks `<|start_header_id|>`, `<|end_header_id|>` (cut into pieces, or ")
    assert "docs/models.md" in template(base, "llama3", []).remedy
    every = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    assert template(base, "llama3", every).status == "ok"
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").unlink()
    (check,) = template_checks(planned(base, "llama3", template="llama3", tokens="native"))
    assert check.status == "ok"  # nothing can be told
