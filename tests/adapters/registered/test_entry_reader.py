"""Records as an entry describes them; test_verdicts.py asks LLaMA-Factory itself."""

import json

import pytest

from ftbridge.adapters.registered.entry_reader import UnfitError, read_conversation, read_rows
from ftbridge.adapters.registered.validate import validate
from ftbridge.core.errors import InputError
from ftbridge.core.records import Row, Where
from ftbridge.dataset_info.entries import interpret_entry

HERE = Where("a.json", 1)
COLUMNS = {"prompt": "q", "query": "more", "response": "a", "history": "before", "system": "role"}
ALPACA = interpret_entry("a", {"file_name": "a.json", "columns": COLUMNS})
SHAREGPT = interpret_entry("a", {"file_name": "a.json", "formatting": "sharegpt"})
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
TAGS |= {"observation_tag": "tool", "function_tag": "function", "system_tag": "system"}
MESSAGES = {"messages": "messages", "system": "rule", "tools": "tools", "images": "images"}
OPENAI = interpret_entry("a", {"file_name": "a.json", "formatting": "openai", "columns": MESSAGES, "tags": TAGS})
ASK, REPLY = {"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}
USER, BOT = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}


def read(entry, **values):
    found = read_conversation(entry, Row(HERE, values))
    return found.system, [(turn.user, turn.output) for turn in found.turns]


def test_alpaca_joins_question_and_input_and_puts_history_first():
    assert read(ALPACA, q="why?", more="now", a="so", before=[["hi", "hello"]], role="be kind") == (
        "be kind",
        [("hi", "hello"), ("why?\nnow", "so")],
    )
    assert read(ALPACA, q=None, a="so", before=None) == ("", [("", "so")])


def test_sharegpt_has_a_system_message_or_column():
    assert read(SHAREGPT, conversations=[ASK, REPLY] * 2) == ("", [("why?", "because")] * 2)
    first = {"from": "system", "value": "be kind"}
    assert read(SHAREGPT, conversations=[first, ASK, REPLY]) == ("be kind", [("why?", "because")])
    assert read(OPENAI, messages=[USER, BOT], rule="be brief") == ("be brief", [("why?", "because")])
    first = {"role": "system", "content": "be kind"}
    assert read(OPENAI, messages=[first, USER, BOT], rule="be brief") == ("be kind", [("why?", "because")])


@pytest.mark.parametrize(
    ("entry", "values", "column", "reason"),
    [
        (ALPACA, {"q": "why?", "a": 69}, "a", "holds a number, not text"),
        (ALPACA, {"q": "why?"}, "a", "holds nothing, not text"),
        (ALPACA, {"q": ["why?"], "a": "b"}, "q", "holds a list, not text"),
        (ALPACA, {"q": "why?", "a": {}}, "a", "holds an object, not text"),
        (ALPACA, {"q": "why?", "a": "b", "role": True}, "role", "holds true or false, not text"),
        (ALPACA, {"q": "why?", "a": "b", "before": "hi"}, "before", "is not a list of"),
        (ALPACA, {"q": "why?", "a": "b", "before": [["hi"]]}, "before", "is not a list of"),
        (ALPACA, {"q": "why?", "a": "b", "before": [["hi", None]]}, "before", "is not a list of"),
        (SHAREGPT, {}, "conversations", "is not a list of messages"),
        (SHAREGPT, {"conversations": []}, "conversations", "is not a list of messages"),
        (SHAREGPT, {"conversations": ["why?"]}, "conversations", "is not a list of messages"),
        (SHAREGPT, {"conversations": [ASK]}, "conversations", "does not end with an answer"),
        (SHAREGPT, {"conversations": [REPLY, ASK]}, "conversations", "the role `gpt` where `human` must come"),
        (SHAREGPT, {"conversations": [ASK, ASK]}, "conversations", "the role `human` where `gpt` must come"),
        (SHAREGPT, {"conversations": [ASK, {"from": "gpt", "value": None}]}, "value", "holds nothing, not text"),
        (OPENAI, {"messages": [USER, BOT], "images": ["a.png"]}, "images", "holds images"),
    ],
)
def test_record_that_llamafactory_drops_or_dies_of_is_an_error(entry, values, column, reason):
    with pytest.raises(UnfitError, match=reason) as error:
        read(entry, **values)
    assert (error.value.column, error.value.for_xtuner) == (column, False)


CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}
RESULT = {"role": "tool", "content": "rain"}


@pytest.mark.parametrize(
    ("entry", "values", "column"),
    [
        (OPENAI, {"messages": [USER, CALL, RESULT, RESULT, BOT]}, "messages"),
        (OPENAI, {"messages": [USER, BOT], "tools": '[{"name": "look"}]'}, "tools"),
        (OPENAI, {"messages": [USER, BOT], "tools": [{"name": "look"}]}, "tools"),
        (SHAREGPT, {"conversations": [ASK, {"from": "function_call", "value": "{}"}]}, "conversations"),
        (SHAREGPT, {"conversations": [{"from": "observation", "value": "rain"}, REPLY]}, "conversations"),
    ],
)
def test_what_xtuner_alone_cannot_hold_is_named(entry, values, column):
    with pytest.raises(UnfitError, match="tools, which XTuner cannot hold") as error:
        read(entry, **values)
    assert (error.value.column, error.value.for_xtuner) == (column, True)


@pytest.mark.parametrize("tools", ["[]", " [ ] ", "{}", "", None, [], {}])
def test_empty_tools_of_any_spelling_count_as_none(tools):
    assert read(OPENAI, messages=[USER, BOT], tools=tools) == ("", [("why?", "because")])


def test_record_with_tools_gives_calls_as_turns_and_tools_in_the_system_prompt():
    row = Row(Where("a.json", 1), {"messages": [USER, CALL, RESULT, RESULT, BOT], "tools": [{"name": "look"}]})
    found = read_conversation(OPENAI, row, tools=True)
    assert found.system == '[{"name":"look"}]'
    assert [(turn.user, turn.output) for turn in found.turns] == [
        ("why?", '[{"function":{"name":"look"}}]'),
        ("rain", "because"),
    ]


def test_results_of_tools_at_the_end_are_not_counted():
    assert read(OPENAI, messages=[USER, BOT, RESULT]) == ("", [("why?", "because")])


def test_xtuners_own_format_is_read_as_well():
    turns = [{"system": "s", "input": "why?", "output": "so"}, {"system": "", "input": "and?", "output": "ok"}]
    entry = interpret_entry("a", {"file_name": "a.jsonl", "formatting": "xtuner"})
    assert read(entry, conversation=turns) == ("s", [("why?", "so"), ("and?", "ok")])
    with pytest.raises(UnfitError, match="nothing, not text"):
        read(entry, conversation=[{"input": "why?"}])


def test_rows_are_numbered_through_and_empty_ones_left_out(folder):
    file = folder / "a.jsonl"
    lines = [json.dumps({"q": "x" * 1000}) for _ in range(3000)]
    lines[5] = ""
    lines[7] = "{"
    file.write_text("\n".join(lines))
    found = list(read_rows(file))
    assert [row.where.row for row in found] == [number for number in range(1, 3001) if number != 6]
    with pytest.raises(UnfitError, match="is not a JSON object"):
        read_conversation(ALPACA, found[6])


@pytest.mark.parametrize(("empty", "opening", "closing"), [("[]", "[", "]"), ("{}", '{"a": ', "}")])
def test_deeply_nested_record_is_counted_as_wrong(folder, empty, opening, closing):
    entry = interpret_entry("a", {"file_name": "a.jsonl"})
    good = f'{{"instruction": "why?", "input": "", "output": "so", "more": {empty}}}\n'
    for depth in (300, *range(900, 1000, 5), 5000):  # the decoder gives up, or what looks into its answer does
        nested = opening * depth + empty + closing * depth
        (folder / "a.jsonl").write_text(good + good.replace(empty, nested))
        found = validate(folder, entry)
        assert found.records == 2
        assert found.unfit.count == {300: 0, 5000: 1}.get(depth, found.unfit.count)


def test_csv_value_that_pandas_takes_for_missing_is_none(folder):
    (folder / "a.csv").write_text("q,a\nNA,none\n007,\n")
    assert [row.values for row in read_rows(folder / "a.csv")] == [{"q": None, "a": "none"}, {"q": "007", "a": None}]


def test_registered_file_is_read_by_its_suffix(folder):
    (folder / "a.json").write_text("q,a\nwhy?,so\n")
    with pytest.raises(InputError, match="holds no JSON object"):
        list(read_rows(folder / "a.json"))
    (folder / "a.parquet").write_text("q,a\nwhy?,so\n")
    with pytest.raises(InputError, match="does not hold parquet, as its name says"):
        list(read_rows(folder / "a.parquet"))
