"""What is offered where a table may mean several things."""

import pytest

from ftbridge.adapters.mapping.inference.suggestions import (
    alternatives,
    column_source,
    column_sources,
    column_suggestion,
    command_options,
    describe,
    question_or_error,
    repeats_text,
)
from ftbridge.core.errors import InputError, QuestionError


def by_column(**fields):
    return {field: [column_source(column) for column in columns] for field, columns in fields.items()}


def said(found):
    return [describe(offer) for offer in alternatives(found)]


def test_suggestions_take_each_column_once():
    assert said(by_column(instruction=["x", "y"], input=["z"], output=["y", "x"])) == [
        "question from `x`, input from `z`, answer from `y`",
        "question from `y`, input from `z`, answer from `x`",
    ]


def test_suggestions_use_a_second_question_as_input_and_join_several_inputs():
    assert said(by_column(instruction=["x", "y"], output=["z"])) == [
        "question from `x`, answer from `z`",
        "question from `y`, answer from `z`",
        "question from `x`, input from `y`, answer from `z`",
    ]
    *_, both = alternatives(by_column(instruction=["x"], input=["y", "the z"], output=["a"]))
    assert both["input"].template == "{{ y }} {{ row['the z'] }}"


def test_offers_that_do_not_work_are_left_out_and_none_left_is_an_error():
    offers = [column_suggestion({"instruction": each, "output": "a"}) for each in ("x", "y", "x")]
    asked = question_or_error("which?", offers, lambda offer: offer["instruction"].column == "y")
    assert isinstance(asked, QuestionError)
    assert asked.answers == {"question from `y`, answer from `a`": ["--map", "instruction=y", "--map", "output=a"]}
    none = question_or_error("which?", offers, lambda _: False, "; none")
    assert isinstance(none, InputError)
    assert str(none) == "which?; none"


def test_a_header_that_is_a_number_is_quoted():
    assert command_options(column_suggestion({"output": "2", "system": "s"})) == [
        "--map",
        "system=s",
        "--map",
        'output="2"',
    ]


@pytest.mark.parametrize(
    ("value", "templates"),
    [
        (["x"], ["{{ c | join(', ') }}"]),
        (["x", "y"], ["{{ c | join(', ') }}", "{{ c[0] }}"]),
        ([{"value": "x"}], ["{{ c | map(attribute='value') | join(', ') }}", "{{ c | tojson }}"]),
        ([{"other": "x"}], ["{{ c | tojson }}"]),
        ("['x']", ["{{ c | parsed | join(', ') }}"]),
        ("{'text': ['x', 'y']}", ["{{ (c | parsed).text | join(', ') }}", "{{ ((c | parsed).text)[0] }}"]),
        ({"text": ["x"], "start": [1]}, ["{{ c.text | join(', ') }}"]),
        ({"answer": "x"}, ["{{ c.answer }}", "{{ c | tojson }}"]),
        ({"other": "x"}, ["{{ c | tojson }}"]),
        ([[1, "x"]], []),
        (None, []),
    ],
)
def test_lists_and_objects_become_text(value, templates):
    assert [source.template for source in column_sources("c", [{"c": value}])] == templates


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([{"q": "hi", "m": [{"content": "hi there"}]}, {"q": "", "m": []}], True),
        ([{"q": "hi", "m": [{"content": "hi there"}]}, {"q": "hello", "m": ["no"]}], False),
        ([{"q": "", "m": ["x"]}], False),
        ([{"q": 7, "m": ["7"]}], False),
    ],
)
def test_a_text_that_stands_elsewhere_in_every_row_is_repeated(rows, found):
    assert repeats_text("q", ["m"], rows) is found


def test_template_of_lists_says_none_where_a_list_is_empty():
    (source,) = column_sources("c", [{"c": ["x", "y"]}, {"c": []}])
    assert source.template == "{{ (c | join(', ')) or 'none' }}"
    assert "`none` where there is none" in source.description
    (source,) = column_sources("c", [{"c": {"text": []}}, {"c": {"text": ["x"]}}])
    assert source.template == "{{ (c.text | join(', ')) or 'none' }}"
