"""Which reading headers and first rows allow, and what is asked where they allow none, or several."""

import msgspec
import pytest

from ftbridge.core.errors import InputError, QuestionError

from ....builders.tables import GOOD, choose, made_of, table  # noqa: TID252


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "q", "instruction": "i", "answer": "a"}, "`question` and `instruction` both fit instruction"),
        ({"text": "t", "category": "c", "label": "l"}, "`category` and `label` both fit output"),
        ({"text": "t", "topic": "c", "stance": "l"}, "`topic` and `stance` both fit output"),
        ({"text": "t", "context": "c", "label": "l"}, "`text` and `context` both fit instruction"),
        ({"question": "q", "passage": "p", "text": "t", "answer": "a"}, "`passage` and `text` both fit input"),
        ({"a thing": "x", "another": "y"}, "no column is recognised.*1 `a thing`, 2 `another`"),
        ({"question": "q", "score": 1}, "no column is recognised"),
        ({"question": "q", "class": "c", "our words": "r"}, "`class`.*is a class by its header, and `question` a"),
        ({"问题": "q", "类别": "c"}, "`类别`.*is a class by its header, and `问题` a question"),
        ({"query": "q", "intent": "c", "domain": "d"}, "`intent`.*is a class by its header"),
        ({"question": "q", "answer": ["a"]}, "`answer` holds lists, not text"),
        ({"messages": GOOD, "system": "s", "system prompt": "t"}, "`system` and `system prompt` both fit system"),
        ({"messages": GOOD, "conversations": [{"from": "human", "value": "q"}]}, "can be read in several ways"),
        ({"messages": GOOD, "question": "q", "the answer": "", "answer": "a"}, "can be read in several ways"),
        (
            {"messages": GOOD, "question": "another"},
            "`question`.*is a question by its header, and `messages` beside it",
        ),
        (
            {"instruction": "i", "tests": [{"input": "1", "output": "2"}]},
            "`instruction`.*, and `tests` beside it holds",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "`chosen` and `rejected` of `faq.jsonl` say which answers"),
        ({"question": "q", "answer": "a", "chosen": "a", "rejected": "b"}, "DPO"),
        ({"messages": GOOD, "rejected_response": "no"}, "`rejected_response` of `faq.jsonl` says which answers"),
        ({"chosen_messages": GOOD, "rejected_messages": GOOD}, "`chosen_messages` and `rejected_messages` of"),
        ({"prompt": "q", "completion": "a", "label": True}, "`label` of `faq.jsonl` says"),
        ({"messages": GOOD, "kto_tag": False}, "`kto_tag` of"),
        (
            {"question": "q", "rationale": "c", "answer": "a"},
            "`rationale` .* holds reasoning; is it the thought before",
        ),
        ({"question": "q", "cot": "c", "gemini_thinking": "d", "answer": "a"}, "`cot` and `gemini_thinking` of"),
        ({"question": "q", "reasoning_steps": ["c", "d"], "answer": "a"}, "`reasoning_steps` of"),
        ({"text": "t", "reasoning": "c", "label": "l"}, "`reasoning` of"),
        ({"messages": GOOD, "reasoning": "c"}, "`reasoning` of"),
        ({"text": "t", "label": ["x", "y"]}, "`label` holds lists, not text"),
        ({"text": "t", "label": "['x']"}, "`label` holds lists, not text"),
        ({"question": "q", "context": ["c", "d"], "answer": "a"}, "`context` of `faq.jsonl` holds lists, not text"),
        ({"instruction": "q", "input": {"x": 1}, "output": "a"}, "`input` of `faq.jsonl` holds objects, not text"),
        ({"question": "q", "answer": "a", "system": ["s"]}, "`system` of `faq.jsonl` holds lists, not text"),
        ({"question": "q", "answer": ["a", "b"]}, "`answer` holds lists, not text"),
        ({"question": "q", "query": "SELECT"}, "`question` and `query` both fit instruction"),
        ({"question": "q", "answer": "a", "wrong_answer": "b"}, "`wrong_answer` of `faq.jsonl` says which"),
        ({"问题": "q", "正确答案": "a", "错误答案": "b"}, "`错误答案` of `faq.jsonl` says which"),
        ({"prompt": "q", "response_chosen": "a", "response_rejected": "b"}, "`response_chosen` and `response_rej"),
        ({"question": "q", "human answer": "a", "model answer": "b"}, "`human answer` and `model answer` both fit"),
        ({"id": 1, "translation": {"en": "cat", "zh": "猫"}}, "no column is recognised"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_ambiguous_columns_are_asked_about_and_every_answer_works(record, message):
    with pytest.raises(QuestionError, match=r"(?s)" + message) as raised:
        choose(table(record))
    assert raised.value.answers
    for options in raised.value.answers.values():
        assert made_of(record, options)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"a thing": "x"}, "no column is recognised"),
        ({"question": "q", "id": 7}, "no column is recognised"),
        ({"messages": "[{'role': 'user'}]"}, "`messages` holds lists, not lists of objects with role/content"),
        ({"question": "q", "rejected": "a"}, "`rejected` of .*, and no answer is left without it"),
        ({"id": 1, "rationale": "x"}, "holds reasoning.*, and no answer is left without it"),
        ({"id": 1, "thought": "x"}, "no column is recognised as question and answer"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_columns_that_no_answer_makes_usable_are_refused(record, message):
    with pytest.raises(InputError, match=r"(?s)" + message):
        choose(table(record))


@pytest.mark.parametrize(
    ("record", "answers"),
    [
        (
            {"Customer says": "q", "We reply": "a"},
            {
                "question from `Customer says`, answer from `We reply`": [
                    "instruction=Customer says",
                    "output=We reply",
                ],
                "question from `We reply`, answer from `Customer says`": [
                    "instruction=We reply",
                    "output=Customer says",
                ],
            },
        ),
        (
            {"id": 3, "question": "q", "url": "http://x", "what we said": "a", "1": "b"},
            {
                "question from `question`, answer from `what we said`": ["instruction=question", "output=what we said"],
                "question from `question`, answer from `1`": ["instruction=question", 'output="1"'],
                "question from `question`, input from `what we said`, answer from `1`": [
                    "instruction=question",
                    "input=what we said",
                    'output="1"',
                ],
            },
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"question from `prompt`, answer from `chosen`": ["instruction=prompt", "output=chosen"]},
        ),
        (
            {"question": "q", "rationale": "r", "answer": "a"},
            {
                "question from `question`, thought from `rationale`, answer from `answer`": [
                    "instruction=question",
                    "thought=rationale",
                    "output=answer",
                ],
                "question from `question`, answer from `answer`": ["instruction=question", "output=answer"],
            },
        ),
        (
            {"question": "q", "class": "c", "our words": "r", "system": "s"},
            {
                "system prompt from `system`, question from `question`, answer from `class`": [
                    "system=system",
                    "instruction=question",
                    "output=class",
                ],
                "system prompt from `system`, question from `question`, answer from `our words`": [
                    "system=system",
                    "instruction=question",
                    "output=our words",
                ],
            },
        ),
    ],
)
def test_answers_to_a_question_name_the_files_own_columns(record, answers):
    with pytest.raises(QuestionError) as raised:
        choose(table(record))
    assert {said: options[1::2] for said, options in raised.value.answers.items()} == answers


@pytest.mark.parametrize(
    ("record", "outputs"),
    [
        ({"text": "t", "label": ["pos"]}, ["pos"]),
        ({"text": "t", "label": ["neg", "rude"]}, ["neg, rude", "neg"]),
        ({"text": "t", "label": [{"value": "pos", "status": "submitted"}]}, ["pos"]),
        ({"text": "Zhang lives", "label": [[0, 5, "PER"]]}, ["Zhang: PER"]),
        ({"question": "q", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}}, ["a, b", "a"]),
        ({"text": "t", "output": {"text": "x"}}, ["x"]),
        ({"id": 1, "translation": {"en": "cat", "zh": "猫"}}, ["猫", "cat"]),
        ({"tokens": ["a", "b"], "ner_tags": ["O", "B"]}, ["O, B"]),
        (
            {"data": {"text": "t"}, "annotations": [{"result": [{"value": {"choices": ["pos", "new"]}}]}]},
            ["pos, new"],
        ),
        (
            {"instruction": "i", "instances": [{"input": "x", "output": "y"}]},
            ["y"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_lists_and_objects_are_offered_as_templates(record, outputs):
    with pytest.raises(QuestionError) as raised:
        choose(table(record))
    options = [options for options in raised.value.answers.values() if "--output" in options]
    made = [made_of(record, each)[0]["output"] for each in options]
    assert made[: len(outputs)] == outputs


def test_a_question_that_a_conversation_repeats_is_left_out():
    source = table({"prompt": "q", "messages": GOOD}, {"prompt": None, "messages": GOOD})
    assert choose(source).left_out == ("prompt",)


def test_doubtful_headers_are_offered_by_column_number():
    found = msgspec.structs.replace(table({"你好": "再见", "我很好": "好的"}), unsure=QuestionError("?", {}))
    with pytest.raises(QuestionError) as raised:
        choose(found)
    assert {said: options for said, options in raised.value.answers.items() if "data" in said} == {
        "the first row is data, question from column 1, answer from column 2": [
            *("--header-row", "none", "--map", "instruction=1", "--map", "output=2"),
        ],
        "the first row is data, question from column 2, answer from column 1": [
            *("--header-row", "none", "--map", "instruction=2", "--map", "output=1"),
        ],
    }


def test_answers_that_are_true_or_false_in_text_say_which_are_better():
    records = ({"prompt": "q", "completion": "a", "label": label} for label in ("True", "False"))
    with pytest.raises(QuestionError, match=r"`label` of .* says which answers are better"):
        choose(table(*records))


@pytest.mark.parametrize(
    ("record", "template"),
    [
        (
            {"instruction": "choose", "question": "q", "A": "x", "B": "y", "answer": "A"},
            "{{ instruction }} {{ question }} A. {{ A }} B. {{ B }}",
        ),
        (
            {"question": "q", "option_a": "x", "option_b": "y", "answer": "option_b"},
            "{{ question }} option_a. {{ option_a }} option_b. {{ option_b }}",
        ),
        (
            {"question": "q", "options": ["x", "y"], "answer": ["A"]},
            "{{ question }}{% for text in options %} {{ 'ABCDEFGHIJ'[loop.index0] }}. {{ text }}{% endfor %}",
        ),
    ],
)
def test_the_template_of_an_exam_shows_all_that_is_asked(record, template):
    with pytest.raises(QuestionError, match="only names one of") as raised:
        choose(table(record))
    options = next(iter(raised.value.answers.values()))
    assert options[options.index("--instruction") + 1] == template
