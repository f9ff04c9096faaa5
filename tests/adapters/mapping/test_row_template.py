"""Templates over a row's columns."""

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.row_template import parse_template
from ftbridge.adapters.values import BadCell, BadValueError
from ftbridge.core.errors import UsageError
from ftbridge.core.records import Table

COLUMNS = ("text", "category", "Tweet text", "a b", "a-b", "问题", "n")
TABLE = Table(file="news.jsonl", columns=COLUMNS, pieces=[], first=())


def rendered(template, **values):
    return parse_template(template, "input", TABLE).render(values)


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        (
            "文本:{{text}},类型选型:{{category}}",
            {"text": "它", "category": ["Military", "Space"]},
            "文本:它,类型选型:['Military', 'Space']",
        ),
        ("{{ row['Tweet text'] }} {{ Tweet_text }}", {"Tweet text": "hi"}, "hi hi"),
        ("{{ row['a b'] }}{{ row['a-b'] }}", {"a b": 1, "a-b": 2}, "12"),
        ("{{ row.text }}", {"text": "<b>&"}, "<b>&"),
        ("{{ 问题 }}\n", {"问题": "x"}, "x\n"),
        ("{{ n }} {{ n + 1 }} {{ 'No. ' ~ n }}", {"n": 69.0}, "69 70 No. 69"),
        ("{{ n }}", {"n": 1e-05}, "0.00001"),
        ("{{ n }}", {"n": True}, "true"),
        ("{{ n }}", {"n": msgspec.Raw(b"[0.5]")}, "[0.5]"),
        ("{{ text }}|{{ n }}", {"text": None, "n": 1}, "|1"),
        ("{% for each in category %}- {{ each }}\n{% endfor %}", {"category": ["a", "b"]}, "- a\n- b\n"),
        ("{{ category | join(', ') }} {{ category | tojson }}", {"category": ["文", "b"]}, '文, b ["文","b"]'),
        ("{{ category | map('upper') }}", {"category": ["a"]}, "['A']"),
        ("{{ n.keys() }}{{ n['keys'] }}", {"n": {"keys": 1}}, "['keys']1"),
        ("{{ text.split(',')[1] }}", {"text": "a,b"}, "b"),
        ("{{ text[:2] if text else 'none' }}", {"text": "abc"}, "ab"),
        ("no template, and { braces }", {}, "no template, and { braces }"),
    ],
)
def test_templates_are_rendered_over_a_row(template, values, expected):
    assert rendered(template, **values) == expected


def test_a_template_knows_its_columns_and_can_be_sent_to_another_process():
    made = parse_template("{{ Tweet_text }} {{ row['a b'] }} {{ text }}", "input", TABLE)
    assert set(made.columns) == {"Tweet text", "a b", "text"}
    assert pickle.loads(pickle.dumps(made)).render({"text": "x"}) == "  x"
    assert parse_template("constant", "input", TABLE).columns == ()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for each in category %}{{ each }}{% else %}none{% endfor %}", "none"),
        ("{% if text %}{{ text }}{% else %}none{% endif %}", "none"),
        ("{{ text if text else 'none' }}", "none"),
        ("{{ text or 'none' }}", "none"),
        ("{{ text | default('none', true) }}", "none"),
        ("{{ 'none' if category is none else category | join }}", "none"),
        ("{{ 'none' if category == [] else 'some' }}", "some"),
        ("{% for each in category %}{{ each }}{% endfor %}", ""),
    ],
)
def test_template_with_a_default_for_empty_values_renders_it(template, expected):
    assert rendered(template, text="", category=None) == expected
    assert rendered(template) == expected
    assert "{" not in rendered(template, text="", category=[])


def test_a_row_without_any_of_its_columns_gives_no_text():
    assert rendered("Classify the document:\n{{ text }}", text=" ") == ""
    assert rendered("{{ text }} of {{ n }}", n=3) == " of 3"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ txt }}",
            r"`--input` uses `txt`, which is not a column; did you mean `text`\?\ncolumns of news.jsonl: 1 `text`",
        ),
        ("{{ a_b }}", "`a_b`, which is not a column"),
        ("{{ row['nope'] }}", "uses `nope`, which is not a column"),
        ("{{ row }}", r"which column of `row` it means, as in `row\['text'\]`"),
        ("{{ row[text] }}", "which column of `row`"),
        ("one\n{{ text", "a syntax error in line 2: unexpected end of template"),
        ("{% if %}", "a syntax error in line 1"),
        ("{{ text | shout }}", "No filter named 'shout'"),
        ("(" + "{{" + "(" * 3000 + "text" + ")" * 3000 + "}}", "nested too deeply"),
    ],
)
def test_mistakes_in_a_template_are_named_before_the_first_row(template, message):
    with pytest.raises(UsageError, match=message):
        parse_template(template, "input", TABLE)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**10 }}",
        "{{ 2 ** 999999999 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ text | center(1000000000) }}",
        "{{ text | replace('', text) }}",
        "{% for at in range(10**9) %}x{% endfor %}",
        "{% for a in text %}{% for b in text %}x{% endfor %}{% endfor %}",
        "{% set a = text ~ text %}{{ a }}",
        "{% set ns = namespace(a='a') %}",
        "{% macro more() %}{{ more() }}{% endmacro %}{{ more() }}",
        "{{ lipsum(100000) }}",
        "{% include 'other' %}",
        "{{ self }}",
        "{{ text.__class__.__mro__ }}",
    ],
)
def test_template_that_could_hang_fill_memory_or_reach_python_is_refused(template):
    with pytest.raises(UsageError, match=r"not allowed here|No filter named"):
        parse_template(template, "input", TABLE)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{{ text['__class__'] }}", {"text": "x"}),
        ("{{ text.nothing }}", {"text": "x"}),
        ("{{ text.upper }}", {"text": "x"}),
        ("{{ n.items }}", {"n": {"items": "x"}}),
        ("{{ {'7': 'Electricity'}[text] }}", {"text": "8"}),
        ("{{ n + text }}", {"text": "x", "n": 1}),
        ("{{ text }}", {"text": BadCell("#N/A")}),
        ("{{ text }}", {"text": "\0"}),
        ("{{ n }}", {"n": float("nan")}),
    ],
)
def test_a_row_that_does_not_fit_is_an_error_of_that_row(template, values):
    with pytest.raises(BadValueError):
        rendered(template, **values)


@given(st.text().filter(lambda text: text.strip() and "\0" not in text))
def test_template_syntax_in_a_rows_text_is_never_evaluated(text):
    assert rendered("{{ text }}", text=text) == text
    assert rendered("{{ text }}", text="{{ n }}{% for a in b %}" + text) == "{{ n }}{% for a in b %}" + text
