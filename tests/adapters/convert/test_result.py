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
    assert "give them names with `--label-map 1=TEXT --label-map 0=TEXT`" in table.notes[-1]


def test_thought_from_a_column_is_said_with_what_leaves_it_out(lines):
    file = lines({"Question": "q", "Complex_CoT": "嗯", "Response": "a"}, {"Question": "p", "Response": "b"})
    done = convert(file)
    (note,) = done.tables[0].notes
    assert note.endswith("without it: `--map instruction=Question --map output=Response`")
    assert [sample.turns[0].thought for sample in done.tables[0].first] == ["嗯", ""]
    written = done.parts[0].files["messages"].read_text("utf-8").splitlines()
    assert written[0].endswith('{"role":"assistant","content":"a","reasoning_content":"嗯"}]}')
    assert "reasoning_content" not in written[1]
    asked = {"instruction": "Question", "thought": "Complex_CoT", "output": "Response"}
    assert not convert(file, map=asked, replace=True).tables[0].notes
    without = convert(file, map={"instruction": "Question", "output": "Response"}, replace=True)
    assert "嗯" not in without.parts[0].files["messages"].read_text("utf-8")
