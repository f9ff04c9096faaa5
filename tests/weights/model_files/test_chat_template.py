"""A chat template that adds a system prompt: none is added where the training had none."""

import json

import msgspec
import pytest

from ftbridge.templates import chat_templates
from ftbridge.templates.families import get_family
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.weights.card import ModelCard
from ftbridge.weights.model_files.chat_template import leave_out, text_of_native, write
from tests.builders.chat_templates import CHATML, LAST_ENDS_OTHERWISE, NO_ROLES, NO_STOP, TWO_STOPS

PROMPT = get_family("qwen2.5").cell("xtuner").prompt
CARD = ModelCard(
    base="",
    family="qwen2.5",
    backend="xtuner",
    template=msgspec.to_builtins(PROMPT),
    system="",
    thinking="none",
    run="1",
)
QUESTION = [{"role": "user", "content": "Why?"}]
GIVEN = [{"role": "system", "content": "Be brief."}, *QUESTION]
TURN = "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
TEMPLATE = (
    "{% if messages[0].role != 'system' %}DEFAULT{% endif %}{% for message in messages %}" + TURN + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As a text of Jinja's, as it stands, and put together, where it cannot be told what belongs to it.
QUOTED = TEMPLATE.replace("DEFAULT", r"{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}")
PLAIN = TEMPLATE.replace("DEFAULT", "<|im_start|>system\nBe kind.<|im_end|>\n")
ASSEMBLED = TEMPLATE.replace("DEFAULT", r"{{ '<|im_start|>system\nBe ' + 'kind.' + '<|im_end|>\n' }}")


def rendered(folder, messages):
    return chat_templates.render_chat_template(chat_templates.read_chat_template(folder), messages, {})


@pytest.mark.slow
@pytest.mark.parametrize("template", [QUOTED, PLAIN])
@pytest.mark.parametrize("config", [False, True])
def test_default_system_prompt_is_removed_from_either_template_file(tmp_path, capsys, template, config):
    file = tmp_path / ("tokenizer_config.json" if config else "chat_template.jinja")
    file.write_text(json.dumps({"chat_template": template, "model_max_length": 9}) if config else template)
    given = rendered(tmp_path, GIVEN)
    assert "Be kind." in rendered(tmp_path, QUESTION)
    leave_out(tmp_path, CARD)
    assert rendered(tmp_path, QUESTION) == PROMPT.render("", [("Why?", None)])
    assert rendered(tmp_path, GIVEN) == given == PROMPT.render("Be brief.", [("Why?", None)])
    assert "adds `<|im_start|>system Be kind.<|im_end|>`, and the training did not; the new" in capsys.readouterr().err
    leave_out(tmp_path, CARD)
    assert capsys.readouterr().err == ""
    assert not config or json.loads(file.read_text())["model_max_length"] == 9


def test_default_system_prompt_that_cannot_be_removed_is_told(tmp_path, capsys):
    (tmp_path / "chat_template.jinja").write_text(ASSEMBLED)
    leave_out(tmp_path, CARD)
    assert (tmp_path / "chat_template.jinja").read_text() == ASSEMBLED
    assert "asks otherwise than `ftbridge chat`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("template", "known"),
    [
        (QUOTED, {"run": ""}),  # how others trained is not known
        (QUOTED, {"system": "Be kind."}),
        (QUOTED, {"family": "", "template": {}}),
        (TEMPLATE.replace("DEFAULT", ""), {}),
        (TEMPLATE.replace("DEFAULT", "").replace("<|im_start|>' +", "<|' +"), {}),  # of another family
        ("{{ nothing.at.all }}", {}),
        ("", {}),
    ],
)
def test_template_of_another_training_or_family_stays_as_it_is(tmp_path, capsys, template, known):
    (tmp_path / "chat_template.jinja").write_text(template)
    leave_out(tmp_path, msgspec.structs.replace(CARD, **known))
    assert (tmp_path / "chat_template.jinja").read_text() == template
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("system", "adds"), [("", False), ("Be brief.", True)])
def test_template_that_a_merged_folder_will_have_is_known_without_merging(tmp_path, system, adds):
    family = get_family("qwen2.5")
    (tmp_path / "chat_template.jinja").write_text(PLAIN)
    assert ("Be kind." in text_of_native(tmp_path, family, "xtuner", system)) == adds
    (tmp_path / "chat_template.jinja").unlink()
    assert text_of_native(tmp_path, family, "xtuner", system) == PROMPT.chat_template()


SPECIAL = ["<|eos|>", "<|user|>", "<|assistant|>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|return|>"]


@pytest.mark.parametrize(
    ("template", "end", "base", "wanted"),
    [
        (NO_STOP, "<|eos|>", ["<|eos|>"], ["<|user|>", "<|eos|>"]),  # as GLM, whose base does not name it
        (NO_STOP, "<|eos|>", ["<|eos|>", "<|user|>"], ["<|user|>", "<|eos|>"]),
        (CHATML, "<|im_end|>", ["<|eos|>"], ["<|im_end|>", "<|eos|>"]),  # as Qwen's base models
        (TWO_STOPS, "<|eos|>", ["<|end|>"], ["<|eos|>", "<|end|>"]),
        (LAST_ENDS_OTHERWISE, "<|return|>", ["<|return|>"], ["<|return|>"]),  # `<|end|>` comes after a thought
        (NO_ROLES, "<|eos|>", [], ["<|eos|>"]),
    ],
)
def test_a_model_stops_where_its_training_ended_an_answer(tmp_path, template, end, base, wanted):
    added = [{"id": number, "content": name, "special": True} for number, name in enumerate(SPECIAL)]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": end, "bos_token": None}))
    (tmp_path / "config.json").write_text("{}")
    ids = [SPECIAL.index(name) for name in base]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ids, "top_k": 3} if ids else {}))
    card = msgspec.structs.replace(CARD, family="", template={}, chat_template=ChatTemplate(template, "a test's", None))
    write(tmp_path, card)
    found = json.loads((tmp_path / "generation_config.json").read_text())
    stops = found["eos_token_id"] if isinstance(found["eos_token_id"], list) else [found["eos_token_id"]]
    assert [SPECIAL[number] for number in stops] == wanted
    assert found.get("top_k") == (3 if ids else None)


def test_an_adapter_gets_no_stops(tmp_path):
    card = msgspec.structs.replace(CARD, family="", template={}, chat_template=ChatTemplate(CHATML, "a test's", None))
    write(tmp_path, card)
    assert [file.name for file in tmp_path.iterdir()] == ["chat_template.jinja"]
