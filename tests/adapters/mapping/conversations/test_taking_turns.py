"""Messages put together to turns."""

import pytest

from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, SYSTEM, TOOL, USER
from ftbridge.adapters.mapping.conversations.taking_turns import TurnsSoFar
from ftbridge.adapters.values import BadValueError
from ftbridge.core.records import Beside, Observation, Turn


def answer(so_far, text, *, train=True, thought="", calls=""):
    so_far.add_answer(text, train=train, thought=thought, calls=calls)


def test_an_answer_of_nothing_but_text_has_nothing_beside_it():
    so_far = TurnsSoFar()
    so_far.add_text(SYSTEM, "s")
    so_far.add_text(USER, "q")
    answer(so_far, "a")
    assert so_far.finish() == ("s", [Turn("q", "", "a")])


def test_results_of_tools_stand_before_the_answer_that_hears_them():
    so_far = TurnsSoFar()
    so_far.add_text(USER, "q")
    answer(so_far, "", calls="[1]")
    for text in "xy":
        so_far.refuse_out_of_turn(TOOL)
        so_far.add_observation(Observation(text))
    answer(so_far, "a", train=False, thought="hm")
    heard = Beside(False, "hm", "", (Observation("x"), Observation("y")))
    assert so_far.finish() == ("", [Turn("q", "", "", Beside(calls="[1]")), Turn("", "", "a", heard)])
    so_far.add_text(USER, "r")
    answer(so_far, "b")
    assert so_far.finish()[1][-1] == Turn("r", "", "b")


def test_each_role_is_due_after_some_alone():
    so_far = TurnsSoFar()
    due = {"": so_far.due}
    so_far.add_text(SYSTEM, "s")
    due[SYSTEM] = so_far.due
    so_far.add_text(USER, "q")
    due[USER] = so_far.due
    answer(so_far, "", calls="[1]")
    due[CALL] = so_far.due
    so_far.add_observation(Observation("x"))
    due[TOOL] = so_far.due
    answer(so_far, "a")
    due[ASSISTANT] = so_far.due
    assert due == {
        "": (SYSTEM, USER),
        SYSTEM: (USER,),
        USER: (CALL, ASSISTANT),
        CALL: (TOOL,),
        TOOL: (TOOL, CALL, ASSISTANT),
        ASSISTANT: (USER,),
    }
    with pytest.raises(BadValueError, match="is a tool's, where the user's is expected"):
        so_far.refuse_out_of_turn(TOOL)


def test_last_word_is_an_answer():
    so_far = TurnsSoFar()
    for role, reason in ((SYSTEM, "holds no question"), (USER, "ends with the user's")):
        so_far.add_text(role, "x")
        with pytest.raises(BadValueError, match=reason):
            so_far.finish()
    answer(so_far, "", calls="[1]")
    assert so_far.finish()
    so_far.add_observation(Observation("x"))
    with pytest.raises(BadValueError, match="ends with a tool's answer"):
        so_far.finish()
