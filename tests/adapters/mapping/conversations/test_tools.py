"""Tools: those that are offered, calls, and what tools answered."""

import json

import pytest

from ftbridge.adapters.mapping.conversations.tools import (
    calls_as_json,
    calls_of,
    observation_of,
    refuse_other_tool_keys,
    result_text,
    tools_as_json,
)
from ftbridge.adapters.values import BadValueError
from ftbridge.core.records import Observation

F = {"name": "f", "arguments": {"x": 1}}


@pytest.mark.parametrize(
    "value",
    [
        F,
        [F],
        json.dumps(F),
        [json.dumps(F)],
        {"type": "function", "function": F},
        [{"function": {"name": "f", "arguments": '{"x": 1}'}}],
        {"name": "f", "parameters": {"x": 1}},
        "{'name': 'f', 'arguments': {'x': 1}}",
    ],
)
def test_calls_of_any_writing_are_openais_with_arguments_as_objects(value):
    assert json.loads(calls_as_json(value)) == [{"type": "function", "function": F}]


def test_calls_keep_their_ids_and_may_have_no_arguments():
    (call,) = json.loads(calls_of({"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": ""}}]}))
    assert call == {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}
    assert calls_of({"tool_calls": [], "function_call": None, "content": "a"}) == ""


@pytest.mark.parametrize("value", ["look", [], [3], {}, {"name": ""}, F | {"arguments": "x"}, F | {"arguments": [1]}])
def test_what_is_no_call_is_refused(value):
    with pytest.raises(BadValueError, match="call"):
        calls_as_json(value)


def test_tools_are_wrapped_once_and_an_empty_list_is_none():
    assert [tools_as_json(value) for value in (None, "", "[]", [], "null")] == [""] * 5
    wrapped = [{"type": "function", "function": {"name": "f"}}]
    for value in ({"name": "f"}, [{"name": "f"}], wrapped, json.dumps(wrapped), [json.dumps({"name": "f"})]):
        assert json.loads(tools_as_json(value)) == wrapped
    for value in ("look", ["look"], [{"function": {}}], [[1]]):
        with pytest.raises(BadValueError, match="is not a tool"):
            tools_as_json(value)


def test_results_are_texts_also_where_they_are_objects():
    assert [result_text(value) for value in ("42", {"a": 1}, [1])] == ["42", '{"a":1}', "[1]"]
    assert result_text([{"type": "text", "text": "x"}]) == [{"type": "text", "text": "x"}]
    assert observation_of({"name": "f", "tool_call_id": 3}, "x") == Observation("x", "f")


def test_tools_under_other_keys_are_refused_by_name():
    refuse_other_tool_keys({"tool_calls": [F], "tools": "[]", "content": "a"}, {"tool_calls"})
    with pytest.raises(BadValueError, match="has `tools`"):
        refuse_other_tool_keys({"tools": [F]}, {"tool_calls"})
