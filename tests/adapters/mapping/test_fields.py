"""Rows whose fields stand in columns of their own."""

import pickle

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftbridge.adapters.mapping.fields import ColumnMapping
from ftbridge.adapters.mapping.row_template import RowTemplate
from ftbridge.adapters.targets import alpaca
from ftbridge.adapters.values import BadCell, BadValueError, decode_raw
from ftbridge.core.records import Beside, Turn

from ...builders.mappings import QA, mapping, raw, row  # noqa: TID252

COLUMNS = {"system": "s", "instruction": "q", "input": "i", "thought": "t", "output": "a", "history": "h"}
ANYTHING = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "x", "\n问", "\0", "\ud800", "1", "too long", "null"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.lists(st.text(max_size=2), max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
    st.just(BadCell("#N/A")),
)


def test_a_row_becomes_a_conversation():
    made = QA.conversation(row(q="why?", a=69.0))
    assert made.system == "be kind"
    assert made.turns == (Turn("why?", "", "69"),)
    assert str(made.source) == "faq.xlsx Q!17"
    assert made.label == ""


def test_json_text_passes_undecoded():
    question, answer = raw("为什么?"), raw("a\n")
    (turn,) = (
        mapping({"instruction": "q", "input": "i", "output": "a"})
        .conversation(row(q=question, i=raw(""), a=answer))
        .turns
    )
    assert turn.instruction is question
    assert turn.output is answer
    assert turn.input == ""


def test_system_prompt_of_a_row_wins_over_the_default():
    columns = mapping({"instruction": "q", "output": "a", "system": "s"}, system="be kind")
    assert columns.conversation(row(q="q", a="a", s="be brief")).system == "be brief"
    for none in (None, " ", raw("")):
        assert columns.conversation(row(q="q", a="a", s=none)).system == "be kind"


@pytest.mark.parametrize("as_source", [lambda value: value, raw], ids=["plain", "raw"])
@pytest.mark.parametrize("strip", [False, True])
def test_thought_of_a_row_goes_with_its_answer(as_source, strip):
    columns = mapping({"instruction": "q", "thought": "t", "output": "a"}, strip=strip)

    def made(**values):
        (turn,) = columns.conversation(row(**{key: as_source(value) for key, value in values.items()})).turns
        return decode_raw(turn.output), decode_raw(turn.thought)

    assert made(q="q", t="hm", a="a") == ("a", "hm")
    assert made(q="q", t="hm\n", a="<think>hm</think>\na") == ("a", "hm" if strip else "hm\n")
    assert made(q="q", t=7, a="a") == ("a", "7")
    for none in (None, "", " ", "null", "[]"):
        assert made(q="q", t=none, a="<think>hm</think>a") == ("<think>hm</think>a", "")
    for answer, reason in (
        ("<think>oh</think>a", "has a thought inside its text, and another in a separate field"),
        ("<think>hm</think>", "holds nothing but the thought"),
    ):
        (problem,) = columns.problems(row(q="q", t="hm", a=answer))
        assert (problem.field, problem.reason) == ("output", reason)
    assert columns.problems(row(q="q", t=["hm"], a="a"))[0].field == "thought"


def test_ordinary_thought_passes_undecoded():
    columns = mapping({"instruction": "q", "thought": "t", "output": "a"})
    thought = raw("嗯")
    assert columns.conversation(row(q=raw("q"), t=thought, a=raw("a"))).turns[0].beside == Beside(thought=thought)


@pytest.mark.parametrize("as_source", [lambda value: value, raw], ids=["plain", "raw"])
def test_history_is_earlier_turns(as_source):
    columns = mapping({"instruction": "q", "input": "i", "output": "a", "history": "h"})
    made = columns.conversation(row(q="q", i="more", a="a", h=as_source([["hi", "hello"]])))
    assert made.turns == (Turn("hi", "", "hello"), Turn("q", "more", "a"))
    in_a_cell = columns.conversation(row(q="q", i="more", a="a", h=as_source('[["hi", "hello"]]')))
    assert in_a_cell.turns == made.turns
    for none in ([], None, "", "[]"):
        assert columns.conversation(row(q="q", a="a", h=as_source(none))).turns == (Turn("q", "", "a"),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"q": "", "a": "x"}, ("Q!A17", "instruction", "is empty", "")),
        ({"q": "x", "a": " \u00a0"}, ("Q!D17", "output", "is empty", "  ")),
        ({"q": "x", "a": raw("\u3000")}, ("Q!D17", "output", "is empty", " ")),
        ({"a": "x"}, ("Q!A17", "instruction", "is empty", "")),
        ({"q": "x", "a": BadCell("#N/A")}, ("Q!D17", "output", "is an error value of the workbook", "#N/A")),
        ({"q": ["x"], "a": "y"}, ("Q!A17", "instruction", "holds a list, not text", '["x"]')),
        ({"q": "x", "a": {}}, ("Q!D17", "output", "holds an object, not text", "{}")),
        ({"q": "x", "a": "y\0"}, ("Q!D17", "output", "holds a NUL character", "y ")),
        ({"q": "\ud800", "a": "y"}, ("Q!A17", "instruction", "holds half of a surrogate pair", " ")),
        (
            {"q": "x", "a": "1234567"},
            ("Q!D17", "output", "has 7 characters, more than `--max-characters` 6", "1234567"),
        ),
        ({"q": "x", "a": "y", "h": "z"}, ("Q!17", "history", "is not a list of [question, answer] pairs", "z")),
        (
            {"q": "x", "a": "y", "h": [["z"]]},
            ("Q!17", "history", "is not a list of [question, answer] pairs", '[["z"]]'),
        ),
        ({"q": "x", "a": "y", "h": [["z", ""]]}, ("Q!17", "history", "has an empty question or answer", '[["z", ""]]')),
        ({"q": "x", "a": "y", "pic": "a.png"}, ("Q!17", "", "holds images, which cannot be trained on yet", "a.png")),
    ],
)
def test_wrong_value_of_a_row_is_named_with_its_cell(values, expected):
    columns = ColumnMapping(
        columns={"instruction": "q", "output": "a", "history": "h"},
        known_columns=frozenset(["q", "a", "h", "pic"]),
        letters={"q": "A", "a": "D"},
        max_characters=6,
        refused_columns={"pic": "images"},
    )
    with pytest.raises((BadValueError, UnicodeEncodeError)):
        msgspec.json.encode(alpaca.sample(columns.conversation(row(**values))))
    (problem,) = columns.problems(row(**values))
    assert (problem.address, problem.field, problem.reason, problem.value) == expected
    assert values.get(problem.column) is not None or problem.reason == "is empty"


def test_question_in_either_of_instruction_and_input_is_enough():
    columns = mapping({"instruction": "q", "input": "i", "output": "a"})
    assert not columns.problems(row(q="", i="x", a="y"))
    assert columns.conversation(row(q=" ", i="x", a="y")).turns == (Turn(" ", "x", "y"),)
    assert [each.field for each in columns.problems(row(q="", i="", a=""))] == ["instruction", "output"]


def test_templates_and_constants_fill_fields_and_name_bad_cells():
    templates = {
        "instruction": RowTemplate("Classify"),
        "input": RowTemplate("文本:{{t}},类型选型:{{c}}", {"t": "t", "c": "c"}),
    }
    columns = ColumnMapping(
        columns={"output": "a"}, templates=templates, known_columns=frozenset("tca"), letters={"t": "B"}
    )
    made = columns.conversation(row(t=raw("它"), c=["Military", "Space"], a="Space"))
    assert made.turns == (Turn("Classify", "文本:它,类型选型:['Military', 'Space']", "Space"),)
    (problem,) = columns.problems(row(t="", c=[], a="Space"))
    assert (problem.address, problem.field, problem.reason) == ("Q!B17", "input", "is empty")
    (problem,) = columns.problems(row(t=BadCell("#REF!"), c=[], a="Space"))
    assert problem.reason == "uses `t`, which is an error value of the workbook"


@pytest.mark.parametrize("label", [7, 7.0, "7", raw(7), raw("7")])
def test_labels_become_their_texts(label):
    columns = mapping({"instruction": "q", "output": "a"}, label_texts={"7": "Electricity"}, label_field="output")
    made = columns.conversation(row(q="x", a=label))
    assert made.turns[0].output == made.label == "Electricity"


def test_a_label_without_a_text_names_its_row():
    columns = mapping({"instruction": "q", "output": "a"}, label_texts={"7": "Electricity", "6": "Physics"})
    (problem,) = columns.problems(row(q="x", a=8))
    assert (problem.address, problem.reason, problem.value) == ("Q!17", "is not in the label map: 6, 7", "8")
    with pytest.raises(BadValueError, match="not in the label map"):
        columns.conversation(row(q="x", a=8))
    assert [each.reason for each in columns.problems(row(q="x", a=""))] == ["is empty"]


def test_text_is_kept_to_the_character_unless_strip_is_asked_for():
    values = {"s": " s", "q": "q\u00a0", "i": " ", "a": "\ta\u3000", "h": [["x ", " y"]]}
    kept = mapping(COLUMNS).conversation(row(**values))
    assert kept.turns == (Turn("x ", "", " y"), Turn("q\u00a0", " ", "\ta\u3000"))
    bare = mapping(COLUMNS, strip=True).conversation(row(**values))
    assert (bare.system, bare.turns) == ("s", (Turn("x", "", "y"), Turn("q", "", "a")))


@example(values={"q": "x", "a": "x", "t": []}, strip=False, labelled=False, templated=False)
@given(
    st.dictionaries(st.sampled_from(["q", "i", "t", "a", "s", "h", "history", "tools", "else"]), ANYTHING),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_row_of_columns_gives_a_sample_or_a_problem(values, strip, labelled, templated):
    reads = ColumnMapping(
        columns={field: column for field, column in COLUMNS.items() if field != "input" or not templated},
        templates={"input": RowTemplate("{{ i }}!", {"i": "i"})} if templated else {},
        known_columns=frozenset(COLUMNS.values()),
        watched_fields=frozenset(["history"]),
        label_texts={"x": "y"} if labelled else {},
        strip=strip,
        max_characters=5,
    )
    reads = pickle.loads(pickle.dumps(reads))
    try:
        msgspec.json.encode(alpaca.sample(reads.conversation(row(**values))))
    except (BadValueError, UnicodeEncodeError):
        assert reads.problems(row(**values))
    else:
        assert not reads.problems(row(**values))
