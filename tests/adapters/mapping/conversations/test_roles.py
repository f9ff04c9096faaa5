"""Whose names are whose."""

import pytest

from ftbridge.adapters.mapping.conversations.roles import ask_for_roles, refuse_invalid_roles, role_of, roles_alternate
from ftbridge.core.errors import QuestionError, UsageError

SIDES = ("user", "assistant")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "user") for name in ("user", "USER", "Human", "human:", "<|user|>", "用户", "prompter")),
        *((name, "assistant") for name in ("assistant", "GPT", "AI", "ai_assistant", "助手", "机器人", "客服", "MOSS")),
        *((name, "system") for name in ("system", "developer", "系统")),
        *((name, "call") for name in ("function_call", "tool calls")),
        *((name, "tool") for name in ("tool", "function", "observation", "tool-response")),
        *((name, "") for name in ("", "patient", "doctor", "narrator", "A")),
    ],
)
def test_role_names_are_known_in_any_case_and_markup(name, role):
    assert role_of(name, {}) == role


def test_role_given_by_option_wins_over_the_known_one():
    assert role_of("user", {"user": "assistant"}) == "assistant"
    assert role_of("Doctor ", {"doctor": "assistant"}) == "assistant"


def test_unknown_role_in_an_option_is_refused():
    refuse_invalid_roles({"a": "user", "b": "assistant", "c": "system"})
    with pytest.raises(UsageError, match=r"`--role` takes NAME=user.*got `a=doctor`"):
        refuse_invalid_roles({"a": "doctor"})


@pytest.mark.parametrize(
    ("roles", "fine"),
    [("ua", True), ("sua", True), ("uaua", True), ("", False), ("s", False), ("u", False), ("au", False)],
)
def test_turns_alternate_from_user_to_assistant_or_are_refused(roles, fine):
    names = {"u": "user", "a": "assistant", "s": "system"}
    assert roles_alternate([names[role] for role in roles]) is fine


@pytest.mark.parametrize(
    ("spoken", "answers"),
    [
        ([["human", "yayi"]], [["--role", "yayi=assistant"]]),
        ([["x", "y"], ["x", "y", "x", "y"]], [["--role", "x=user", "--role", "y=assistant"]]),
        (
            [["x", "y"], ["y", "x"]],
            [["--role", f"x={one}", "--role", f"y={other}"] for one, other in (SIDES, SIDES[::-1])],
        ),
        ([["scene", "user", "bot"]], [["--role", "scene=system"]]),
    ],
)
def test_roles_that_make_the_most_conversations_readable_are_offered(spoken, answers):
    with pytest.raises(QuestionError, match=r"it is unclear who .* of `talk` (is|are)\n") as raised:
        ask_for_roles("talk", spoken, {})
    assert sorted(raised.value.answers.values()) == sorted(answers)


@pytest.mark.parametrize(
    "spoken", [[["human", "bot"], ["human", "narrator"]], [["x", "x"]], [["a", "b", "c", "d"]], [["human", "tool"]], []]
)
def test_unknown_roles_that_no_answer_mends_are_not_asked_about(spoken):
    ask_for_roles("talk", spoken, {})
