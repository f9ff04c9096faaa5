"""Conversations that stand in one column."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.conversations.formats import OPENAI, SHAREGPT, XTUNER, style_of
from ftbridge.adapters.mapping.messages import MessageMapping
from ftbridge.adapters.targets import xtuner
from ftbridge.adapters.values import BadValueError
from ftbridge.core.records import Conversation, Row, Turn, Where

WHERE = Where("chat.jsonl", 3)
TEXT = st.text().filter(lambda text: text.strip() and "\0" not in text)
TURNS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


def raw(value):
    return msgspec.Raw(msgspec.json.encode(value))


def both(style, value, **options):
    """Return the row as a source of Python values gives it, and as JSON lines do, with the mapping for it."""
    mapping = MessageMapping(columns={"messages": "m"}, known_columns=frozenset("m"), style=style, **options)
    return mapping, [Row(WHERE, {"m": value}), Row(WHERE, {"m": raw(value)})]


def openai(*messages):
    return [{"role": role, "content": content} for role, content in messages]


def sharegpt(*messages):
    return [{"from": role, "value": content} for role, content in messages]


GOOD = openai(("user", "q"), ("assistant", "a"))
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
CALLED = [
    GOOD[0],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "42", "tool_call_id": "c"},
    GOOD[1],
]
SHARED = sharegpt(
    ("human", "q"), ("function_call", '{"name": "f", "arguments": {"x": 1}}'), ("observation", "42"), ("gpt", "a")
)


@pytest.mark.parametrize(
    ("style", "value", "system", "turns"),
    [
        (OPENAI, GOOD, "default", [("q", "a")]),
        (OPENAI, openai(("system", "s"), *(("user", "1"), ("assistant", "2")) * 2), "s", [("1", "2"), ("1", "2")]),
        (OPENAI, openai(("developer", "s"), ("User", "q"), ("ASSISTANT", "a")), "s", [("q", "a")]),
        (OPENAI, openai(("system", ""), ("user", "q"), ("assistant", 7)), "default", [("q", "7")]),
        (
            OPENAI,
            openai(("user", [{"type": "text", "text": "q"}, {"type": "text", "text": "?"}]), ("assistant", "a")),
            "default",
            [("q?", "a")],
        ),
        (OPENAI, [{**each, "name": "Ann", "tool_calls": None, "weight": 1} for each in GOOD], "default", [("q", "a")]),
        (SHAREGPT, sharegpt(("human", "q"), ("gpt", "a")), "default", [("q", "a")]),
        (SHAREGPT, sharegpt(("system", "s"), ("user", "q"), ("assistant", "a")), "s", [("q", "a")]),
        (
            SHAREGPT,
            [{"from": "human", "value": "q", "weight": 0}, {"from": "gpt", "value": "a", "weight": 1}],
            "default",
            [("q", "a")],
        ),
        (XTUNER, [{"input": "q", "output": "a"}], "default", [("q", "a")]),
        (XTUNER, [{"system": "s", "input": "q", "output": "a", "output_with_loss": True}], "s", [("q", "a")]),
        (
            XTUNER,
            [{"system": "s", "input": "q", "output": "a"}, {"system": "", "input": "r", "output": "b"}],
            "s",
            [("q", "a"), ("r", "b")],
        ),
        (XTUNER, [{"system": "s", "input": "q", "output": "a"}] * 2, "s", [("q", "a"), ("q", "a")]),
    ],
    ids=str,
)
def test_message_lists_of_each_style_are_read(style, value, system, turns):
    mapping, rows = both(style, value, system="default")
    expected = Conversation(system, tuple(Turn(asked, "", answer) for asked, answer in turns), WHERE)
    assert style_of(value) == style
    cell = json.dumps(value)
    assert style_of(cell) == style
    for row in (*rows, Row(WHERE, {"m": cell}), Row(WHERE, {"m": raw(cell)})):
        assert msgspec.json.encode(xtuner.sample(mapping.conversation(row))) == msgspec.json.encode(
            xtuner.sample(expected)
        )
        assert mapping.problems(row) == []


@pytest.mark.parametrize(
    ("style", "value", "reason"),
    [
        (OPENAI, None, "is empty"),
        (OPENAI, "text", "is not a list of messages"),
        (OPENAI, openai(("system", "s")), "holds no question and answer"),
        (OPENAI, [*GOOD, "x"], "message 3 is not an object with `role` and `content`"),
        (OPENAI, openai(("assistant", "a")), "message 1 is the assistant's, where the user's is expected"),
        (OPENAI, openai(("user", "q"), ("user", "r")), "message 2 is the user's, where the assistant's is expected"),
        (OPENAI, [*GOOD, *GOOD[1:]], "message 3 is the assistant's, where the user's is expected"),
        (OPENAI, openai(("user", "q"), ("system", "s")), "message 2 is the system's, where the assistant's is"),
        (OPENAI, [*GOOD, GOOD[0]], "ends with the user's message"),
        (OPENAI, openai(("user", " "), ("assistant", "a")), "message 1 is empty"),
        (OPENAI, openai(("user", "q"), ("assistant", None)), "message 2 is empty"),
        (OPENAI, openai(("user", {"a": 1}), ("assistant", "a")), "message 1 holds an object, not text"),
        (
            OPENAI,
            openai(("user", "q"), ("tool", "{}")),
            "message 2 is a tool's, where the assistant's is expected",
        ),
        (SHAREGPT, sharegpt(("human", "q"), ("function_call", "{}")), "message 2 has the call `{}`"),
        (SHAREGPT, sharegpt(("human", "q"), ("observation", "{}")), "message 2 is a tool's, where the"),
        (OPENAI, openai(("user", "q"), ("narrator", "a")), "message 2 has the unknown role `narrator`"),
        (
            OPENAI,
            [GOOD[0], {"role": "assistant", "tool_calls": [{"id": "1"}]}],
            'message 2 has the call `{"id": "1"}`, which is not an object with `name` and `arguments`',
        ),
        (
            OPENAI,
            openai(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "a")),
            "message 1 holds a part `image_url`; only text can be trained on yet",
        ),
        (OPENAI, [GOOD[0], {**GOOD[1], "weight": 0}], "has no answer to train on"),
        (OPENAI, [GOOD[0], {**GOOD[1], "weight": 0.5}], "message 2 has `weight` 0.5: answers cannot be weighted"),
        (OPENAI, [*CALLED[:2], GOOD[0]], "message 3 is the user's, where a tool's is expected"),
        (OPENAI, CALLED[:3], "ends with a tool's answer"),
        (OPENAI, [GOOD[0] | {"tool_calls": [{"name": "f"}]}, GOOD[1]], "message 1 has `tool_calls`: tools cannot"),
        (SHAREGPT, [*sharegpt(("human", "q")), {"from": "gpt", "value": "a", "train": False}], "has no answer"),
        (SHAREGPT, [*sharegpt(("human", "q")), {"from": "gpt", "value": "a", "loss": False}], "has no answer"),
        (XTUNER, [], "is empty|holds no question"),
        (XTUNER, [{"input": "q"}], "turn 1 is not an object with `input` and `output`"),
        (XTUNER, [{"input": "", "output": "a"}], "turn 1 has an empty input"),
        (XTUNER, [{"input": "q", "output": "a", "output_with_loss": False}], "has no answer"),
        (
            XTUNER,
            [{"system": "s", "input": "q", "output": "a"}, {"system": "t", "input": "q", "output": "a"}],
            "turn 2 has a system prompt of its own",
        ),
        (XTUNER, [{"input": "q", "output": "x" * 11}], "turn 1 has 11 characters, more than `--max-characters` 10"),
    ],
    ids=str,
)
def test_messages_that_cannot_be_trained_on_are_rejected_with_reasons(style, value, reason):
    mapping, rows = both(style, value, max_characters=10)
    for row in rows:
        with pytest.raises(BadValueError, match=reason):
            mapping.conversation(row)
        (problem,) = mapping.problems(row)
        assert (problem.address, problem.field, problem.column) == ("line 3", "messages", "m")


def test_a_system_column_is_for_conversations_without_one():
    mapping = MessageMapping(
        columns={"messages": "m", "system": "s"}, known_columns=frozenset("ms"), style=OPENAI, system="d"
    )
    with_own = openai(("system", "own"), ("user", "q"), ("assistant", "a"))
    systems = [
        mapping.conversation(Row(WHERE, {"m": value, "s": column})).system
        for value, column in [(GOOD, "s"), (with_own, "s"), (GOOD, ""), (raw(GOOD), raw("s"))]
    ]
    assert systems == ["s", "own", "d", "s"]
    (problem,) = mapping.problems(Row(WHERE, {"m": GOOD, "s": ["x"]}))
    assert (problem.field, problem.reason) == ("system", "holds a list, not text")


@pytest.mark.parametrize("calls", [CALLED, SHARED])
def test_calls_of_tools_and_what_they_answer_are_read(calls):
    mapping, rows = both(SHAREGPT if calls is SHARED else OPENAI, calls)
    for row in rows:
        asked, told = mapping.conversation(row).turns
        (call,) = json.loads(asked.calls)
        assert (asked.user, asked.output) == ("q", "")
        assert call["function"] == {"name": "f", "arguments": {"x": 1}}
        assert ([each.content for each in told.observations], told.user, told.output) == (["42"], "", "a")


def test_row_of_messages_offers_its_tools_as_openai_does():
    mapping = MessageMapping(
        columns={"messages": "m"},
        known_columns=frozenset(["m", "tools"]),
        style=OPENAI,
        refused_columns={"tools": "tools"},
    )
    assert mapping.conversation(Row(WHERE, {"m": raw(GOOD), "tools": raw([])})).tools == ""
    wrapped = {"type": "function", "function": {"name": "search"}}
    for tools in ([{"name": "search"}], [wrapped], json.dumps([{"name": "search"}]), [json.dumps(wrapped)]):
        assert json.loads(mapping.conversation(Row(WHERE, {"m": raw(GOOD), "tools": raw(tools)})).tools) == [wrapped]
    late = mapping.conversation(Row(WHERE, {"m": raw(GOOD), "functions": raw([wrapped])}))
    assert json.loads(late.tools) == [wrapped]
    (problem,) = mapping.problems(Row(WHERE, {"m": raw(GOOD), "tools": raw(["look"])}))
    assert (problem.column, problem.reason) == (
        "tools",
        "holds `look`, which is not a tool (an object with `name` and `parameters`)",
    )


def test_label_of_a_conversation_is_its_last_answer():
    mapping, rows = both(OPENAI, [*GOOD, *openai(("user", "r"), ("assistant", "b "))], label_field="output")
    assert [mapping.conversation(row).label for row in rows] == ["b ", "b "]


def test_message_ends_are_stripped_when_asked():
    mapping, rows = both(OPENAI, openai(("system", " s"), ("user", " q"), ("assistant", "a\u00a0")), strip=True)
    assert [mapping.conversation(row) for row in rows] == [Conversation("s", (Turn("q", "", "a"),), WHERE)] * 2


@pytest.mark.parametrize("value", [None, "x", [], ["x"], [{"a": 1}], [[1, 2]], {"role": "user"}], ids=str)
def test_value_that_is_no_conversation_has_no_style(value):
    assert style_of(value) == ""


@given(st.sampled_from([OPENAI, SHAREGPT, XTUNER]), st.one_of(st.just(""), TEXT), TURNS)
def test_conversation_written_in_any_style_is_read_back_the_same(style, system, turns):
    conversation = Conversation(system, tuple(Turn(asked, "", answer) for asked, answer in turns), WHERE)
    said = [("system", system)] * bool(system)
    for asked, answer in turns:
        said += [("user", asked), ("assistant", answer)]
    value = {
        OPENAI: openai(*said),
        SHAREGPT: sharegpt(*said),
        XTUNER: msgspec.json.decode(msgspec.json.encode(xtuner.sample(conversation)))["conversation"],
    }[style]
    mapping, rows = both(style, value)
    for row in rows:
        assert msgspec.json.encode(xtuner.sample(mapping.conversation(row))) == msgspec.json.encode(
            xtuner.sample(conversation)
        )


VALUES = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.lists(st.text(max_size=2), max_size=2))
MESSAGES = st.dictionaries(
    st.sampled_from(["role", "content", "from", "value", "input", "output", "system", "loss", "tool_calls"]),
    st.one_of(VALUES, st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool"])),
)


@given(st.sampled_from([OPENAI, SHAREGPT, XTUNER]), st.lists(MESSAGES, max_size=4))
def test_any_row_of_messages_gives_a_sample_or_a_problem(style, value):
    mapping, rows = both(style, value, max_characters=9)
    made = []
    for row in rows:
        try:
            made.append(msgspec.json.encode(xtuner.sample(mapping.conversation(row))))
        except BadValueError:
            made.append(None)
        assert bool(mapping.problems(row)) == (made[-1] is None)
    assert made[0] == made[1]
