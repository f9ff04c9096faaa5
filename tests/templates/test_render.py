"""Rendering: whatever a value is, it comes out as a literal and never as code."""

import ast
import json
from enum import StrEnum
from pathlib import Path

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbridge.core.errors import UsageError
from ftbridge.templates import render
from ftbridge.templates.render import (
    Name,
    deepspeed_config,
    deepspeed_names,
    json_literal,
    python_literal,
    render_python,
    render_yaml,
)

NASTY = [
    "",
    "both \"quotes\" and 'quotes'",
    "\"\"\"'''",
    "a\nimport os\nos.system('x')",
    "a\\",
    "a\r\n\tb\x00\x7f\x85\u2028\u2029\ufeff",
    "__import__('os').system('x')",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    '\'+__import__("os").system("x")+\'',
    "# no: comment",
    "%(here)s ${oc.env:HOME} {x}",
    "药品问答 💊",
    "- a: !!python/object/apply:os.system [x]",
    "null",
    "1e-5",
]
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3))
)
fast = settings(max_examples=100)


class Colour(StrEnum):
    RED = "red"


class Sly(str):
    __slots__ = ()

    def __repr__(self):
        return "__import__('os').system('x')"


@pytest.fixture
def template(monkeypatch):
    """Return a function that makes `text` the only template, under any name."""

    def use(text):
        monkeypatch.setattr(render, "_read_template", lambda *_: text)

    return use


@pytest.mark.parametrize("value", NASTY)
def test_hostile_value_is_rendered_as_one_literal(template, value):
    template("value = {{ value }}\nafter = 1  # {{ value }}\n")
    tree = ast.parse(render_python("t", value=value)).body
    assert [ast.literal_eval(line.value) for line in tree] == [value, 1]
    template("value: {{ value }}\nafter: 1  # {{ value }}\n")
    assert yaml.safe_load(render_yaml("t", value=value)) == {"value": value, "after": 1}


@fast
@given(VALUE)
def test_a_python_literal_reads_back(value):
    assert ast.literal_eval(python_literal(value)) == value


@fast
@given(VALUE)
def test_a_json_literal_reads_back_as_json_and_as_yaml(value):
    text = json_literal(value)
    assert "\n" not in text
    assert json.loads(text) == value
    assert same(yaml.safe_load(text), value)


def same(one, other):
    """Compare types too: YAML is ready to take a number for text."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("value", [2e-5, 1e16, -1e-7, 0.1, 3.0])
def test_a_number_stays_a_number_in_yaml(value):
    assert same(yaml.safe_load(json_literal(value)), value)


@pytest.mark.parametrize("literal", [python_literal, json_literal])
@pytest.mark.parametrize(
    "value", [Sly("x"), Colour.RED, Path("a"), object(), {1}, b"a", jinja2.Undefined, float("nan"), float("-inf")]
)
def test_value_that_is_not_plain_is_refused_at_any_depth(literal, value):
    for hidden in (value, [value], {"a": ({"b": value},)}):
        with pytest.raises(TypeError, match="cannot be written into a config"):
            literal(hidden)


def test_key_that_is_a_str_subclass_is_refused():
    with pytest.raises(TypeError):
        python_literal({Sly("x"): 1})


@pytest.mark.parametrize("renderer", [render_python, render_yaml])
@pytest.mark.parametrize("text", ["{{ absent }}", "{{ value.absent }}", "{% if absent %}{% endif %}"])
def test_an_undefined_name_is_an_error(template, renderer, text):
    template(text)
    with pytest.raises((jinja2.UndefinedError, TypeError), match=r"[uU]ndefined"):
        renderer("t", value={})


def test_a_template_reaches_no_insides_of_python(template):
    template("{{ value.__class__.__mro__ }}")
    with pytest.raises(jinja2.exceptions.SecurityError):
        render_python("t", value="x")


def test_name_filter_writes_an_identifier_without_quotes(template):
    template("torch.{{ dtype|name }} and {{ dtype }}")
    assert render_python("t", dtype="bfloat16") == "torch.bfloat16 and 'bfloat16'"


@pytest.mark.parametrize("text", ["", "a b", "a.b", "a()", "1a", "a\n", "'a'", "{{ a }}"])
def test_name_filter_refuses_text_that_is_no_identifier(template, text):
    template("torch.{{ dtype|name }}")
    with pytest.raises(ValueError, match="is no name"):
        render_python("t", dtype=text)
    with pytest.raises(ValueError, match="is no name"):
        Name(text)


def test_the_shipped_deepspeed_configs_are_read():
    assert "zero2" in deepspeed_names()
    assert all(deepspeed_config(name)["zero_optimization"] for name in deepspeed_names())
    with pytest.raises(UsageError, match=r"no DeepSpeed config `zero9`; choose none, .*zero2"):
        deepspeed_config("zero9")
