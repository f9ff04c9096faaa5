"""One way to read a table, and what its first rows hold."""

import pytest

from ftbridge.adapters.mapping.inference.candidate import Candidate, is_python_literal, make_candidate, sample_column
from ftbridge.adapters.mapping.row_template import RowTemplate

from ....builders.tables import table  # noqa: TID252


def sample(*values, header="column"):
    return sample_column(table(*({header: value} for value in values)), header, {}, {})


def test_a_candidate_names_its_fields_in_order_and_all_columns_that_it_uses():
    template = RowTemplate("{{ q }}, {{ year }}", {"q": "q", "year": "year"})
    candidate = Candidate("templates over columns", {"output": "a", "system": "s"}, {"instruction": template})
    assert [*candidate.field_sources.items()] == [
        ("system", "s"),
        ("instruction", "{{ q }}, {{ year }}"),
        ("output", "a"),
    ]
    assert candidate.used_columns == {"a", "s", "q", "year"}
    assert candidate.in_words() == (
        "templates over columns (system from `s`, instruction from `{{ q }}, {{ year }}`, output from `a`)"
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"output": "a", "input": "text"}, {"instruction": "text", "output": "a"}),
        ({"output": "a", "input": "text", "instruction": "q"}, {"instruction": "q", "input": "text", "output": "a"}),
    ],
)
def test_an_input_without_an_instruction_becomes_the_instruction(columns, expected):
    assert [*make_candidate("columns", columns, {}).columns.items()] == [*expected.items()]


def test_the_kinds_in_a_column_are_those_of_its_filled_values_in_order():
    seen = sample("", None, 3, "three", 4.5, True)
    assert (seen.types, seen.example) == (("numbers", "text", "true or false"), "3")
    assert seen.may_be_text


def test_an_empty_column_is_readable_and_a_column_of_lists_is_not():
    assert sample("", None).types == ()
    assert sample("", None).may_be_text
    assert not sample([1], {"a": 1}).may_be_text
    assert sample([1], {"a": 1}).types == ("lists", "objects")


def test_a_list_that_python_wrote_is_a_list_and_json_text_stays_text():
    assert is_python_literal("['a', 'b']")
    assert not is_python_literal('["a", "b"]')
    assert not is_python_literal("[see below]")
    assert sample("['a']", "['b']").types == ("lists",)
    assert sample('["a"]', '["b"]').types == ("text",)


def test_pairs_are_a_conversation_only_under_the_header_of_one():
    pairs = [["How are you?", "Well."]]
    assert sample(pairs, header="conversation").style == "pairs of question and answer"
    seen = sample(pairs, header="column")
    assert (seen.style, seen.possible_style, seen.types) == ("", "pairs of question and answer", ("lists",))


def test_messages_want_an_answer_where_the_last_is_the_users():
    asked = [{"role": "user", "content": "How are you?"}]
    assert sample(asked, header="messages").wants_answer
    assert not sample([*asked, {"role": "assistant", "content": "Well."}], header="messages").wants_answer
