"""The columns of a table by the fields that they may be."""

from ftbridge.adapters.mapping.inference.candidate import sample_column
from ftbridge.adapters.mapping.inference.suggestions import describe
from ftbridge.adapters.mapping.inference.table_columns import TableColumns
from ftbridge.adapters.mapping.row_template import RowTemplate

from ....builders.tables import GOOD, table  # noqa: TID252


def columns_of(record, templates=()):
    source = table(record)
    contents = {column: sample_column(source, column, {}, {}) for column in source.columns}
    return TableColumns(source, dict(templates), contents)


def test_columns_that_a_template_uses_and_its_field_are_taken():
    columns = columns_of(
        {"question": "q", "year": 1999, "answer": "a", "note": "n"},
        {"instruction": RowTemplate("{{ question }}{{ year }}", {"question": "question", "year": "year"})},
    )
    assert columns.columns == ["answer", "note"]
    assert columns.by_field == {"output": ["answer"]}
    assert columns.unplaced_columns() == ["note"]


def test_an_instruction_that_is_the_same_for_all_leaves_the_question_as_the_input():
    (candidate,) = columns_of(
        {"question": "q", "answer": "a"}, {"instruction": RowTemplate("Be brief.")}
    ).reading_by_headers()
    assert candidate.columns == {"input": "question", "output": "answer"}


def test_unplaced_columns_are_text_then_lists_then_numbers_without_those_that_tell_rows_apart():
    record = {"id": 7, "score": 3, "labels of it": ["x"], "what": "t", "empty": "", "good": True}
    assert columns_of(record).unplaced_columns() == ["what", "labels of it", "good", "score"]


def test_the_first_answer_completes_messages_that_want_one():
    prompt = [{"role": "user", "content": "q"}]
    (candidate,) = columns_of({"prompt": prompt, "completion": "a", "system": "s"}).conversations()
    assert candidate.columns == {"messages": "prompt", "output": "completion", "system": "system"}


def test_a_history_is_a_conversation_only_without_question_and_answer():
    assert [*columns_of({"history": GOOD, "question": "q", "answer": "a"}).conversations()] == []
    assert [candidate.columns for candidate in columns_of({"history": GOOD}).conversations()] == [
        {"messages": "history"}
    ]


def test_a_label_says_which_answer_is_better_only_as_true_or_false_beside_an_answer():
    assert columns_of({"prompt": "q", "completion": "a", "label": True}).preference_columns() == ["label"]
    assert columns_of({"prompt": "q", "completion": "a", "label": "good"}).preference_columns() == []
    assert columns_of({"text": "t", "label": True}).preference_columns() == []


def test_possible_readings_take_a_list_by_template_and_offer_no_column_twice():
    readings = columns_of({"question": "q", "answer": ["a", "b"]}).possible_readings()
    assert [describe(reading) for reading in readings] == [
        "question from `question`, answer from the entries of `answer`",
        "question from `question`, answer from the first of `answer`",
    ]
