"""What conversations hold beside text, in formats of texts."""

import json

import msgspec
import pytest

from ftbridge.adapters.targets import alpaca, sharegpt, text_only, xtuner
from ftbridge.core.records import Beside, Conversation, Observation, Turn, Where

PLAIN, THOUGHT = Turn("q", "", "a"), Turn("q", "", "a", Beside(thought="hm"))


def talk(*turns, tools=""):
    return Conversation("s", turns, Where("f", 1), "", tools)


def raw(text):
    return msgspec.Raw(json.dumps(text).encode())


@pytest.mark.parametrize("thought", ['h\n"m', raw('h\n"m')])
@pytest.mark.parametrize("answer", ["a\n", raw("a\n")])
def test_a_thought_stands_before_its_answer(thought, answer):
    text = text_only.answer_with_thought(Turn("q", "", answer, Beside(thought=thought)))
    assert json.loads(msgspec.json.encode(text)) == '<think>\nh\n"m\n</think>\n\na\n'
    assert text_only.answer_with_thought(Turn("q", "", answer)) is answer


@pytest.mark.parametrize("target", [alpaca, sharegpt, xtuner])
def test_thoughts_are_written_in_all_of_them(target):
    for turns in ([THOUGHT], [PLAIN, THOUGHT], [THOUGHT, PLAIN]):
        line = msgspec.json.encode(target.sample(talk(*turns))).decode()
        assert line.count("<think>\\nhm\\n</think>\\n\\na") == 1


@pytest.mark.parametrize("target", [alpaca, sharegpt, xtuner])
def test_tools_have_no_place_in_any_of_them(target):
    heard = Beside(observations=(Observation("x"),))
    for sample in (
        talk(PLAIN, tools="[1]"),
        talk(Turn("q", "", "", Beside(calls="[1]")), Turn("", "", "a", heard)),
        talk(Turn("q", "", "", Beside(calls="[1]"))),
    ):
        assert target.sample(sample) is None


def test_answers_that_are_not_learned_have_a_place_in_xtuners_alone():
    sample = talk(Turn("q", "", "a", Beside(train=False)), PLAIN)
    assert (alpaca.sample(sample), sharegpt.sample(sample)) == (None, None)
    written = json.loads(msgspec.json.encode(xtuner.sample(sample)))["conversation"]
    assert [turn["output_with_loss"] for turn in written] == [False, True]
    plain = msgspec.json.encode(xtuner.sample(talk(PLAIN)))
    assert json.loads(xtuner.with_flags(plain)) == {
        "conversation": [{"system": "s", "input": "q", "output": "a", "output_with_loss": True}]
    }
