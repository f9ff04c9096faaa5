"""A model's own chat template: where it is found, and what rendering it gives, or refuses."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.templates.chat_templates import read_chat_template, render_chat_template

CHATML = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ASKED = [{"role": "user", "content": " 你好 "}]


def test_a_template_is_found_where_models_keep_it(tmp_path):
    assert read_chat_template(tmp_path) == ""
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": [{"name": "default", "template": "one"}, {"name": "tools"}]}))
    assert read_chat_template(tmp_path) == "one"
    config.write_text(json.dumps({"chat_template": 5}))
    assert read_chat_template(tmp_path) == ""
    config.write_text(json.dumps({"chat_template": "two"}))
    assert read_chat_template(tmp_path) == "two"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "three"}))
    assert read_chat_template(tmp_path) == "three"
    (tmp_path / "chat_template.jinja").write_text("four")
    assert read_chat_template(tmp_path) == "four"


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"bos_token": NaN}'])
def test_damaged_tokenizer_config_is_named(tmp_path, content):
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer_config\.json` is not what a model has there"):
        read_chat_template(tmp_path)


def test_a_conversation_is_rendered_open_for_an_answer():
    assert render_chat_template(CHATML, ASKED, {"bos_token": "<s>"}) == "<s><|user|>你好\n<|assistant|>"


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system text') }}",
        "{% for",
        "{{ messages[0].nothing.more }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 'a' * 9 ** 99 }}",
        "{% for one in range(10000000) %}{% endfor %}",
        "{{ 1 / 0 }}",
        "x" * (1 << 19),
        "{% break %}",
        pytest.param(
            "{% for one in range(99999) %}{% for two in range(99999) %}{% endfor %}{% endfor %}", marks=pytest.mark.slow
        ),
        "{{ '%999999999d' % 1 }}",
        "{{ 'a'|center(2999999999) }}",
    ],
)
def test_hostile_or_failing_chat_template_gives_none(template):
    assert render_chat_template(template, ASKED, {}) is None


def test_generation_marks_of_a_chat_template_are_passed_over():
    assert render_chat_template("{% generation %}{{ 2 * 3 }}{% endgeneration %}", ASKED, {}) == "6"
