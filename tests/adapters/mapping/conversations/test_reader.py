"""Conversations of every shape, each through the whole conversion: what is made of it, or what it is refused for."""

import json
from pathlib import Path

import pytest

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.mapping.conversations.formats import style_of
from ftbridge.adapters.mapping.conversations.reader import ConversationReader
from ftbridge.adapters.values import BadValueError
from ftbridge.core.errors import InputError, QuestionError

HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
WHO = ("speaker", "text")
ONE, TWO = [("hi", "hello")], [("hi", "hello"), ("why?", "so")]


def said(*texts, keys=("role", "content"), roles=("user", "assistant")):
    return [{keys[0]: roles[at % 2], keys[1]: text} for at, text in enumerate(texts)]


def flagged(**more):
    """Return messages whose answers have flags; of two values the first answer has the first."""
    talk = said("hi", "hello", "why?", "so")
    for key, values in more.items():
        for message, value in zip(talk[1::2], values if isinstance(values, tuple) else (values,) * 2, strict=True):
            message[key] = value
    return {"messages": talk}


def moss(thought="None", tool="None", answer="hello"):
    return {
        "Human": "<|Human|>: hi<eoh>\n",
        "Inner Thoughts": f"<|Inner Thoughts|>: {thought}<eot>\n",
        "Commands": f"<|Commands|>: {tool}<eoc>\n",
        "Tool Responses": "<|Results|>: None<eor>\n",
        "MOSS": f"<|MOSS|>: {answer}<eom>\n",
    }


READ = {
    "human and assistant": ({"conversation": [{"human": "hi", "assistant": "hello"}]}, ONE),
    "user and assistant, system": ({"x": [{"system": "s", "user": "hi", "assistant": "hello"}]}, ["s", *ONE]),
    "question and answer": ({"dialog": [{"question": "hi", "answer": "hello"}, {"q": "why?", "a": "so"}]}, TWO),
    "prompt and response": ({"conversations": [{"prompt": "hi", "response": "hello"}]}, ONE),
    "Alpaca turns": ({"turns": [{"instruction": "hi", "input": "you", "output": "hello"}]}, [("hi\nyou", "hello")]),
    "a turn's context": ({"turns": [{"question": "hi", "context": "you", "answer": "hello"}]}, [("hi\nyou", "hello")]),
    "Chinese turns": ({"对话": [{"系统": "s", "问题": "hi", "回答": "hello"}]}, ["s", *ONE]),
    "turns as JSON text": ({"conversation": json.dumps([{"human": "hi", "assistant": "hello"}])}, ONE),
    "pairs of role and text": ({"conversations": [["user", "hi"], ["assistant", "hello"]]}, ONE),
    "objects by role": ({"messages": [{"system": "s"}, {"user": "hi"}, {"assistant": "hello"}]}, ["s", *ONE]),
    "author and body": ({"messages": said("hi", "hello", keys=("author", "body"), roles=("user", "bot"))}, ONE),
    "speaker and text": ({"talk": said("hi", "hello", keys=("speaker", "text"), roles=("User", "AI"))}, ONE),
    "from and content": ({"conversations": said("hi", "hello", keys=("from", "content"), roles=("human", "gpt"))}, ONE),
    "role and value": ({"messages": said("hi", "hello", keys=("role", "value"))}, ONE),
    "role and message": ({"messages": said("hi", "hello", keys=("role", "message"))}, ONE),
    "ShareGPT's items": ({"items": said("hi", "hello", keys=("from", "value"), roles=("human", "bard"))}, ONE),
    "ShareGPT's markdown": (
        {"conversations": [{"from": "human", "text": "hi"}, {"from": "gpt", "value": "", "markdown": "hello"}]},
        ONE,
    ),
    "OASST's threads": ({"thread": said("hi", "hello", keys=("role", "text"), roles=("prompter", "assistant"))}, ONE),
    "Chinese roles": ({"messages": said("hi", "hello", roles=("用户", "客服"))}, ONE),
    "marked roles": ({"messages": said("hi", "hello", roles=("<|USER|>", "Assistant:"))}, ONE),
    "Gemini's parts": (
        {
            "contents": [
                {"role": role, "parts": [{"text": text}]} for role, text in (("user", "hi"), ("model", "hello"))
            ],
            "systemInstruction": {"parts": [{"text": "s"}]},
        },
        ["s", *ONE],
    ),
    "LLaMA-Factory v1's parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "hi"}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": "hello"}], "loss_weight": 1.0},
            ]
        },
        ONE,
    ),
    "columns of `datasets`": ({"messages": {"role": ["user", "assistant"], "content": ["hi", "hello"]}}, ONE),
    "texts in turn": ({"id": "1", "data": ["hi", "hello", "why?", "so"]}, TWO),
    "pairs": ({"conversation": [["hi", "hello"], ["why?", "so"]]}, TWO),
    "MOSS": ({"meta_instruction": "s", "num_turns": 1, "chat": {"turn_1": moss()}, "plain_text": "-"}, ["s", *ONE]),
    "MOSS's text": ({"plain_text": "[Human]: hi<eoh> [MOSS]: hello<eoa> [Human]: why?<eoh> [MOSS]: so<eoa>"}, TWO),
    "MOSS's order": (
        {"chat": {f"turn_{at}": moss(answer=str(at)) for at in range(12, 0, -1)}},
        [("hi", str(at)) for at in range(1, 13)],
    ),
    "MOSS's blanks": ({"chat": {"turn_1": moss(answer=" a \n")}}, [("hi", " a \n")]),
    "TRL's prompt and completion": ({"prompt": HI[:1], "completion": HI[1:]}, ONE),
    "TRL's prompt with a system": (
        {"prompt": [{"role": "system", "content": "s"}, *HI[:1]], "completion": "hello"},
        ["s", *ONE],
    ),
    "UltraChat-200k": ({"prompt": "hi", "prompt_id": "1", "messages": HI}, ONE),
    "history of messages": ({"instruction": "why?", "output": "so", "history": HI}, TWO),
    "history of messages with a system": (
        {"instruction": "why?", "output": "so", "history": [{"role": "system", "content": "s"}, *HI]},
        ["s", *TWO],
    ),
    "history of turns": ({"query": "why?", "response": "so", "history": [{"question": "hi", "answer": "hello"}]}, TWO),
    "history by number": ({"query": "why?", "response": "so", "history": {"0": ["hi", "hello"]}}, TWO),
    "history of texts": ({"query": "why?", "response": "so", "history": ["hi", "hello"]}, TWO),
    "no tools as text": ({"messages": HI, "tools": "[]"}, ONE),
    "no tools in a message": (
        {"messages": [HI[0], HI[1] | {"tool_calls": "[]", "function_call": {"name": None}}]},
        ONE,
    ),
    "all answers trained": (flagged(loss_weight=1.0, train="true", loss_mask=1, mask=0), TWO),
    "no thoughts": (flagged(thinking=False, reasoning="", thought="none"), TWO),
    "other keys": (flagged(id=7, timestamp=0, name="Ann", glossary=0, score=0, title="x"), TWO),
}
REFUSED = {
    "a weight": (flagged(weight=(0.5, 1)), "message 2 has `weight` 0.5: answers cannot be weighted"),
    "an unclear flag": (flagged(unsupervised_train=(True, False)), "has `unsupervised_train` true, which may"),
    "no answer learned": (flagged(loss=0), "has no answer to train on"),
    "a mask that is set": (flagged(mask=1), "has `mask` 1"),
    "masked as text": (flagged(masked=("false", "true")), "message 4 has `masked` true"),
    "a mask on some answers": (flagged(mask=(0, None)), "`mask` on some answers only"),
    "a mask of tokens": (flagged(loss_mask=[1, 0, 1]), r"has `loss_mask` \[1, 0, 1\]"),
    "two thoughts": (flagged(reasoning="hm", thought="oh"), "message 2 has `reasoning` and `thought`, which differ"),
    "a thought of the user's": ({"messages": [HI[0] | {"reasoning": "hm"}, HI[1]]}, "message 1 has `reasoning`"),
    "a thought in the text as well": (
        {"messages": [HI[0], {"role": "assistant", "content": "<think>a</think>b", "reasoning": "c"}]},
        "message 2 has a thought inside its text, and another in a separate field",
    ),
    "tools of MOSS": ({"chat": {"turn_1": moss(tool='Search("x")')}}, "turn 1 has `Commands`: tools"),
    "tools in MOSS's text": (
        {"plain_text": "[Human]: hi<eoh> [Commands]: Search<eoc> [MOSS]: hello<eoa>"},
        "has `Commands`: tools",
    ),
    "rest in MOSS's text": ({"plain_text": "[Human]: hi<eoh> [MOSS]: hello"}, r"holds `\[MOSS\]: hello` after"),
    "a flag of a turn": ({"conversation": [{"human": "hi", "assistant": "hello", "train": 0}]}, "has no answer"),
    "a call in the history": (
        {"query": "q", "response": "a", "history": [HI[0], {"role": "assistant", "tool_calls": [{"name": "f"}]}]},
        "ends with a call",
    ),
    "answers in TRL's prompt": (
        {"prompt": said("hi", "hello", "why?"), "completion": said("?", "so")[1:]},
        "an answer in the prompt",
    ),
    "TRL's completion of three": ({"prompt": HI[:1], "completion": [HI[1], *HI]}, "completed by 3 messages"),
    "parts of other kinds": ({"messages": [HI[0], HI[1] | {"content": [{"type": "reasoning"}]}]}, "a part `reasoning`"),
    "a role of tools": ({"messages": [*HI[:1], {"role": "工具", "content": "x"}]}, "is a tool's, where"),
    "texts that are odd": ({"data": ["hi", "hello"]}, "odd number", 99, {"data": ["hi", "hello", "why?"]}),
    "OASST's trees": ({"message_id": "1", "parent_id": None, "text": "hi", "role": "prompter"}, "trees of messages"),
    "OASST's nested trees": ({"message_tree_id": "1", "prompt": {"text": "hi", "replies": []}}, "trees of messages"),
    "messages one a row": ({"talk": 1, "role": "user", "content": "hi"}, r"each row of `a\.jsonl` is one message"),
}  # fmt: skip


def made(lines, rows, **options):
    convert(lines(*rows, name="a.jsonl"), to=["xtuner"], replace=True, **options)
    written = Path("data/a-train.xtuner.jsonl").read_text("utf-8").splitlines()
    talks = [json.loads(line)["conversation"] for line in written]
    return [[*filter(None, [talk[0]["system"]]), *((turn["input"], turn["output"]) for turn in talk)] for talk in talks]


@pytest.mark.parametrize(("row", "expected"), READ.values(), ids=READ)
def test_known_conversation_format_is_read(lines, row, expected):
    assert made(lines, [row]) == [expected]


def messages_of(lines, row):
    """Return what the file of messages has of a row's answers."""
    (part,) = convert(lines(row, name="a.jsonl"), to=["messages"], replace=True).parts
    (line,) = part.files["messages"].read_text("utf-8").splitlines()
    return [each for each in json.loads(line)["messages"] if each["role"] == "assistant"]


OFF = {
    "loss_weight": 0.0, "loss_scale": 0, "training": False, "trainable": "false", "loss": "0", "output_with_loss": "no",
    "learn": False, "is_trained": 0, "train_on": False, "isTrained": False, "compute-loss": 0, "Training Weight": 0,
    "loss_mask": 0, "no_loss": True, "skip_loss": 1,
}  # fmt: skip


@pytest.mark.parametrize("key", OFF)
def test_answer_with_a_flag_of_any_name_is_not_learned(lines, key):
    on = not OFF[key] if isinstance(OFF[key], bool) else int(key != "skip_loss")
    first, second = messages_of(lines, flagged(**{key: (OFF[key], on)}))
    assert (first["train"], "train" in second) == (False, False)


def test_flags_of_turns_and_of_the_history_are_kept(lines):
    turns = [{"human": "hi", "assistant": "hello", "train": 0}, {"human": "why?", "assistant": "so"}]
    assert [each.get("train") for each in messages_of(lines, {"conversation": turns})] == [False, None]
    history = flagged(loss=(0, 1))["messages"]
    row = {"query": "q", "response": "a", "history": history}
    assert [each.get("train") for each in messages_of(lines, row)] == [False, None, None]


@pytest.mark.parametrize(
    "key", ["reasoning_content", "reasoning", "thinking", "thoughts", "cot", "Inner Thoughts", "思考过程"]
)
def test_thought_beside_an_answer_is_kept_under_any_name(lines, key):
    row = flagged(**{key: ("hm\n", None)})
    assert [each.get("reasoning_content") for each in messages_of(lines, row)] == ["hm\n", None]
    assert made(lines, [row])[0][0] == ("hi", "<think>\nhm\n\n</think>\n\nhello")


def test_thoughts_of_moss_and_those_that_the_text_repeats_are_read_once(lines):
    (answer,) = messages_of(lines, {"chat": {"turn_1": moss(thought="hm")}})
    assert (answer["content"], answer["reasoning_content"]) == ("hello", "hm")
    text = "[Human]: hi<eoh> <|Inner Thoughts|>: hm<eot> [Commands]: none<eoc> [MOSS]: hello<eoa>"
    (answer,) = messages_of(lines, {"plain_text": text})
    assert (answer["content"], answer["reasoning_content"]) == ("hello", "hm")
    twice = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nhello", "reasoning_content": "hm"}
    (answer,) = messages_of(lines, {"messages": [HI[0], twice]})
    assert (answer["content"], answer["reasoning_content"]) == ("hello", "hm")


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_unusable_conversation_format_is_refused_by_name(lines, case):
    row, reason, *more = case
    with pytest.raises(InputError, match=reason):
        made(lines, [row, *([row] * more[0] + more[1:] if more else [])])


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"conversations": said("hi", "hello", roles=("human", "yayi"))}, ["yayi=assistant"]),
        ({"talk": said("hi", "hello", keys=WHO, roles=("patient", "doctor"))}, ["patient=user doctor=assistant"]),
        (
            {"messages": [{"role": "scene", "content": "s"}, *HI]},
            ["scene=system"],
        ),
        ({"prompt": said("hi", roles="x"), "completion": said("hi", "hello", roles="xy")[1:]}, ["x=user y=assistant"]),
        (
            {"conversation": [{"patient": "hi", "doctor": "hello"}]},
            ["patient=user doctor=assistant", "doctor=user patient=assistant"],
        ),
        ({"qa": [{"question": "hi", "answer": "hello"}]}, ["messages=qa"]),
    ],
    ids=str,
)  # fmt: skip
def test_unknown_roles_and_pairs_are_asked_about_and_every_answer_works(lines, row, answers):
    with pytest.raises(QuestionError) as raised:
        made(lines, [row, row])
    found = [[word for word in options if not word.startswith("--")] for options in raised.value.answers.values()]
    assert [" ".join(options) for options in found] == answers
    option = "map" if "messages=qa" in answers else "role"
    for options in found:
        talk, _ = made(lines, [row, row], **{option: dict(each.split("=") for each in options)})
        assert {*talk[-1]} == {"hi", "hello"}


def test_an_unknown_role_that_comes_later_is_an_error_that_names_the_option(lines):
    later = {"messages": said("hi", "hello", roles=("user", "narrator"))}
    with pytest.raises(InputError, match=r"unknown role `narrator`; .*`--role narrator=assistant`"):
        made(lines, [{"messages": HI}, later])
    assert made(lines, [{"messages": HI}, later], role={"narrator": "assistant"}) == [ONE, ONE]


def test_roles_given_by_option_may_swap_user_and_assistant(lines):
    row = {"messages": said("hello", "hi", roles=("assistant", "user"))}
    assert made(lines, [row], role={"assistant": "user", "user": "assistant"}) == [[("hello", "hi")]]


def test_role_marks_followed_by_long_blanks_are_read_in_time():
    text = "<|MOSS|>: " + " " * 200_000 + "x"
    turn = [{"Human": text, "MOSS": text}]
    system, (turn,) = ConversationReader(style=style_of(turn)).read(turn)
    assert (system, turn.output) == ("", " " * 200_000 + "x")
    with pytest.raises(BadValueError):
        ConversationReader(style="MOSS conversations").read("[Human]: " + " " * 200_000)
