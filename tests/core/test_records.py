"""Records: values that print as a person would say them, and never change."""

import msgspec
import pytest

from ftbridge.core.records import Conversation, DatasetEntry, Launch, Row, Turn, Where


@pytest.mark.parametrize(
    ("where", "text", "cell"),
    [
        (Where("medqa.xlsx", 17, "DrugQA"), "medqa.xlsx DrugQA!17", "DrugQA!D17"),
        (Where("faq.jsonl", 3), "faq.jsonl line 3", "line 3"),
        (Where("faq.json", 3, unit="element"), "faq.json element 3", "element 3"),
    ],
)
def test_place_of_a_row_prints_as_its_format_counts(where, text, cell):
    assert str(where) == text
    assert where.cell("D") == cell


@pytest.mark.parametrize(
    ("instruction", "question", "user"),
    [("a", "b", "a\nb"), ("a", "", "a"), ("", "b", "b"), ("", "", ""), ("a\n", "b", "a\n\nb")],
)
def test_user_text_joins_instruction_and_input(instruction, question, user):
    assert Turn(instruction, question, "answer").user == user


ENTRY = DatasetEntry(version="1", files={"xtuner": "x"}, samples=1, sources={}, columns={})


@pytest.mark.parametrize(
    "record",
    [
        Conversation("", (Turn("a", "", "b"),), Where("f", 1)),
        Launch(("a",), {}, "/", {}),
        ENTRY,
        Row(Where("f", 1), {}),
    ],
)
def test_record_reads_back_equal_and_cannot_be_changed(record):
    again = msgspec.json.decode(msgspec.json.encode(record), type=type(record))
    assert again == record
    with pytest.raises(AttributeError):
        setattr(record, record.__struct_fields__[0], None)
