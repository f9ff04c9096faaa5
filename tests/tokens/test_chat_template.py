"""Which chat template is taken, and how its switch for thoughts is set in its text."""

import hashlib
import json

import pytest
from jinja2.defaults import DEFAULT_FILTERS

from ftbridge.core.errors import InputError, UsageError
from ftbridge.templates.chat_templates import render_chat_template
from ftbridge.tokens.chat_template import choose_chat_template, shipped
from tests.builders.chat_templates import CHATML, FORGETS_THOUGHTS, SHIPPED, SYSTEM, THREE

MESSAGES = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "模型 7B"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": FORGETS_THOUGHTS}))
    return folder


def rendered(template):
    return render_chat_template(template.text, MESSAGES, {"eos_token": "</s>", "bos_token": "<s>"})


def test_a_model_gives_its_own_template(model):
    template = choose_chat_template(model, None, "on")
    assert template.text.endswith(FORGETS_THOUGHTS)
    assert template.origin == "the chat template of `模型 7B`"
    assert template.sha256 == hashlib.sha256(template.text.encode()).hexdigest()


@pytest.mark.parametrize(("thinking", "end"), [("on", "assistant\n"), ("off", "<think>\n\n</think>\n\n")])
def test_the_switch_for_thoughts_stands_in_the_text(model, thinking, end):
    template = choose_chat_template(model, None, thinking)
    assert template.thinking == thinking
    assert rendered(template).endswith(end)


def test_a_program_may_still_set_the_switch_otherwise(model):
    template = choose_chat_template(model, None, "off")
    assert render_chat_template(template.text, MESSAGES, {"enable_thinking": "yes"}).endswith("assistant\n")


@pytest.mark.parametrize("name", ["enable_thinking", "thinking"])
def test_each_name_of_the_switch_is_known(model, name):
    (model / "chat_template.jinja").write_text(f"{{% if {name} %}}on{{% else %}}off{{% endif %}}")
    assert [rendered(choose_chat_template(model, None, each)) for each in ("on", "off")] == ["on", "off"]


def test_a_switch_that_a_macro_asks_for_is_set(model):
    text = "{% macro end() %}{{ 'off' if not enable_thinking }}{% endmacro %}{{ end() }}"
    (model / "chat_template.jinja").write_text(text)
    assert [rendered(choose_chat_template(model, None, each)) for each in ("on", "off")] == ["", "off"]


def test_a_template_without_a_switch_stays_as_it_is(model):
    (model / "chat_template.jinja").write_text(CHATML)
    template = choose_chat_template(model, None, "off")
    assert (template.text, template.thinking) == (CHATML, None)


@pytest.mark.parametrize("decided", [None, "on", "off"])
def test_the_switch_is_set_anew_and_not_twice(model, decided):
    text = "{{ thinking }} {{ enable_thinking }}"
    (model / "chat_template.jinja").write_text(text)
    template = choose_chat_template(model, None, decided)
    for wanted in ("on", "off"):
        template = template.with_thinking(wanted)
        assert template == choose_chat_template(model, None, wanted)
    (model / "chat_template.jinja").write_text(template.text)  # as a merged folder has it
    assert choose_chat_template(model, None, None).with_thinking("on").text == template.with_thinking("on").text
    assert rendered(template) == "False False"


def test_a_template_without_a_switch_cannot_be_set(model):
    template = choose_chat_template(model, "chatml", None)
    assert template.with_thinking("on") == template


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_is_taken_by_its_name(model, name):
    template = choose_chat_template(model, name, "off")
    assert template.text == SHIPPED[name]
    assert template.origin == f"the chat template `{name}`"
    told = render_chat_template(template.text, [SYSTEM, *THREE], {"eos_token": "</s>", "bos_token": "<s>"})
    assert told.startswith("<s>")
    assert [told.index(message["content"]) for message in [SYSTEM, *THREE]] == sorted(
        told.index(message["content"]) for message in [SYSTEM, *THREE]
    )


def test_all_shipped_templates_are_listed():
    assert shipped() == sorted(SHIPPED)


@pytest.mark.parametrize("name", ["alpaca", "vicuna"])
def test_a_shipped_template_refuses_a_role_that_it_has_not(name):
    tool = [*MESSAGES, {"role": "tool", "content": "12"}]
    assert render_chat_template(SHIPPED[name], tool, {"eos_token": "</s>"}) is None


def test_an_end_token_that_begins_texts_too_is_not_written_twice():
    tokens = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    assert render_chat_template(SHIPPED["plain"], MESSAGES, tokens) == "Why?\n"


def test_a_file_is_taken(model, tmp_path):
    file = tmp_path / "my template.jinja"
    file.write_text("{{ messages[0].content }}你", "utf-8")
    assert rendered(choose_chat_template(model, str(file), "off")) == "Why?你"


def test_what_is_no_template_is_refused(model, tmp_path):
    file = tmp_path / "t.jinja"
    file.write_text("a\n{% if %}", "utf-8")
    with pytest.raises(InputError, match=r"t\.jinja` is not a Jinja template: line 2: "):
        choose_chat_template(model, str(file), "off")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "is not a Jinja template: maximum recursion depth"),
        ("{{ " + "9" * 5000 + " }}", "is not a Jinja template: Exceeds the limit"),
        ("{{ a | nobodys }}", "is not a Jinja template: line 1: No filter named 'nobodys'"),
        ("a" * 10_000_000, "has 10,000,000 characters, which is more than any model's; is it another file"),
        ("é".encode("latin-1"), "is not in UTF-8; save it as UTF-8"),
    ],
    ids=["brackets", "digits", "filter", "size", "encoding"],
)
def test_a_template_that_cannot_be_read_is_a_sentence(model, tmp_path, text, told):
    file = tmp_path / "t.jinja"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told):
        choose_chat_template(model, str(file), "off")


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' | center(9) }}",
        "{% if 'a' | center(9) %}{% endif %}",
        "{% autoescape 'a' | center(9) %}{% endautoescape %}",
    ],
)
def test_nothing_is_computed_of_a_template_that_is_only_looked_at(model, monkeypatch, text):
    computed = []  # by Jinja, of what is constant: it could as well be `'a' * 10**10`
    monkeypatch.setitem(DEFAULT_FILTERS, "center", lambda *given: computed.append(given))
    (model / "chat_template.jinja").write_text(text + "{{ thinking }}")
    assert choose_chat_template(model, None, "on").thinking == "on"
    assert not computed


def test_a_name_that_is_none_is_refused_with_those_that_are(model):
    with pytest.raises(
        UsageError, match=r"`alpaca`, `chatml`, `plain`, `vicuna`; there is no file `alpac`.*`alpaca`\?"
    ):
        choose_chat_template(model, "alpac", "off")


def test_a_model_without_a_template_asks_for_one(model):
    (model / "tokenizer_config.json").unlink()
    with pytest.raises(UsageError, match="has no chat template; name one with `--chat-template`"):
        choose_chat_template(model, None, "off")


def test_thoughts_are_decided_to_be_off_without_a_switch_too(model):
    template = choose_chat_template(model, None, None)
    off = template.without_thoughts()
    assert (off.thinking, off.text.endswith(template.text)) == (None, True)
    assert "set enable_thinking = false" in off.text
    assert rendered(off) == rendered(template)
