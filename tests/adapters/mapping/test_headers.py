"""What headers say."""

import pytest

from ftbridge.adapters.mapping.headers import (
    LOSS_FLAG,
    columns_by_field,
    has_question,
    has_question_and_answer,
    normalize_header,
    untrainable_columns,
)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (("Question", "Answer", "Focus"), {"instruction": ["Question"], "output": ["Answer"]}),
        (("答案\uff1a", "问题"), {"instruction": ["问题"], "output": ["答案\uff1a"]}),
        ((" INSTRUCTION ", "\uff49nput"), {"instruction": [" INSTRUCTION "], "input": ["\uff49nput"]}),
        (("system_prompt", "System Prompt"), {"system": ["system_prompt", "System Prompt"]}),
        (("answer [B]", "answer [C]"), {"output": ["answer [B]", "answer [C]"]}),
        (("text", "label"), {"instruction": ["text"], "output": ["label"]}),
        (("Tweet text", "Label", "ID"), {"instruction": ["Tweet text"], "output": ["Label"]}),
        (
            ("question", "text", "label", "answer"),
            {"instruction": ["question"], "input": ["text"], "output": ["answer"]},
        ),
        (
            ("passage", "question", "context", "answer"),
            {"instruction": ["question"], "input": ["context", "passage"], "output": ["answer"]},
        ),
        (
            ("premise", "hypothesis", "label"),
            {"instruction": ["premise"], "input": ["hypothesis"], "output": ["label"]},
        ),
        (("text", "text_pair", "class"), {"instruction": ["text"], "input": ["text_pair"], "output": ["class"]}),
        (("句子1", "句子2", "标签"), {"instruction": ["句子1"], "input": ["句子2"], "output": ["标签"]}),
        (("text", "topic", "stance"), {"instruction": ["text"], "output": ["topic", "stance"]}),
        (("question", "std_answer", "class"), {"instruction": ["question"], "output": ["std_answer"]}),
        (("text", "label", "label_text"), {"instruction": ["text"], "output": ["label_text"]}),
        (("评论", "标签"), {"instruction": ["评论"], "output": ["标签"]}),
        (("问\u3000题", "*标准 答案:"), {"instruction": ["问\u3000题"], "output": ["*标准 答案:"]}),
        (("問題", "標準答案"), {"instruction": ["問題"], "output": ["標準答案"]}),
        (("text", "context"), {"instruction": ["text", "context"], "input": ["context"]}),
        (("a thing", "another"), {}),
    ],
    ids=str,
)
def test_known_headers_are_recognised_for_their_fields(headers, found):
    assert columns_by_field(headers) == found


def test_a_question_and_an_answer_are_needed():
    assert has_question_and_answer(["input", "output"])
    assert has_question_and_answer(["内容", "类别"])
    assert not has_question_and_answer(["question", "score"])
    assert not has_question_and_answer(["answer"])


def test_columns_of_tools_and_images_are_known():
    assert untrainable_columns(["text", "Images", "tools", "image id"]) == {
        "tools": "tools",
        "Images": "images, sound or video",
    }


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("客户问题", "客服回复"),
        ("用户提问", "标准答复"),
        ("FAQ问题", "FAQ答案"),
        ("问题描述", "解决方案"),
        ("Q\uff08问题\uff09", "A\uff08答案\uff09"),
        ("问题 Question", "答案 Answer"),
        ("Question/问题", "Answer|答案"),
        ("1.问题", "2\u3001答案"),
        ("(1) 问题", "(2) 答案"),
        ("\u2460问题", "\u2461答案"),
        ("一\u3001问题", "二\u3001答案"),
        ("Question (required)", "Answer (optional)"),
        ("\ufeff问题\u200b", "\xa0答案\u200b"),
        ("\u3010问题\u3011", "[Answer]"),
        ("\uff08问题\uff09", "(answer)"),
        ("customer question", "agent reply"),
        ("患者提问", "医生回答"),
        ("User Query", "expected_output"),
        ("客戶問題", "客服回覆"),
    ],
)
def test_headers_with_owners_or_marks_around_them_are_recognised(question, answer):
    assert columns_by_field([question, answer]) == {"instruction": [question], "output": [answer]}
    assert has_question([question])
    assert not has_question([answer])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "问题分类",
            "问题ID",
            "问题 ID",
            "ID (question)",
            "Question Type",
            "question_1",
            "Q1",
            "答案A",
            "答案 A",
            "answerB",
        ),
        *(
            "[A]",
            "[Q]",
            "[ASK]",
            "[ANS]",
            "Answer Explanation",
            "Question/Answer",
            "相似问",
            "answer length",
            "回答时间",
            "问" * 70,
        ),
    ],
)
def test_a_header_that_says_something_else_is_not_recognised(name):
    assert columns_by_field([name]) == {}
    assert name == "问" * 70 or normalize_header(name) != ""


def test_columns_that_cannot_be_trained_on_are_known():
    names = ["text", "Images", "tools", "image id", "rejected_response", "Complex_CoT", "思维链", "preferred language"]
    more = {"rejected_response": "preferences between answers", "Complex_CoT": "reasoning", "思维链": "reasoning"}
    media = {"tools": "tools", "Images": "images, sound or video"}
    assert untrainable_columns(names) == media | more
    assert untrainable_columns(names, decided=True) == media


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        *[(each, True) for each in ("loss_weight", "loss scale", "training", "trainable", "mask", "weight", "loss")],
        *[(each, True) for each in ("no_loss", "Skip training", "untrained", "是否训练", "参与训练")],
        *[(each, False) for each in ("weight (kg)", "train station", "losses", "text", "no weight loss", "训练")],
    ],
)
def test_flags_of_the_loss_are_known(name, flag):
    assert bool(LOSS_FLAG.fullmatch(normalize_header(name))) is (flag or name == "weight (kg)")
