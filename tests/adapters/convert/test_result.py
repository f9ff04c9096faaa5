"""What a conversion tells of its tables."""

from ftbridge.adapters.convert.pipeline import convert


def test_result_describes_each_table_of_several_sources(lines, workbook):
    one, two = lines({"question": "q", "answer": "a", "more": 1}), workbook(Q=[["question", "answer"], ["p", "b"]])
    done = convert(one, two, name="both")
    assert [(table.file, table.sheet, table.left_out) for table in done.tables] == [
        ("faq.jsonl", "", ("more",)),
        ("faq.xlsx", "Q", ()),
    ]
    assert [sample.turns[0].output for table in done.tables for sample in table.first] == ["a", "b"]


def test_answers_that_are_numbers_are_noted(lines):
    (table,) = convert(lines({"text": "t", "label": 1}, {"text": "u", "label": 0})).tables
    assert "`--label-map 1=TEXT --label-map 0=TEXT` and so on gives them names" in table.notes[-1]
