"""Who speaks: the names that datasets give to user, assistant and system, and those that only the user can tell.

`{"from": "patient", ...}` is nobody by itself; `--role patient=user` says who it is.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product

from ftbridge.adapters.values import shorten
from ftbridge.core.errors import QuestionError, UsageError
from ftbridge.language import gettext as _
from ftbridge.language import joined

SYSTEM, USER, ASSISTANT, TOOL, CALL = "system", "user", "assistant", "tool", "call"
ROLES = {
    **dict.fromkeys(("system", "developer", "系统"), SYSTEM),
    **dict.fromkeys(("user", "human", "usr", "prompter", "用户", "人类", "使用者", "提问者"), USER),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bot", "model", "ai", "ai assistant", "chatbot", "robot"), ASSISTANT
    ),
    **dict.fromkeys(("bing", "bard", "claude", "moss"), ASSISTANT),
    **dict.fromkeys(("助手", "助理", "智能助手", "机器人", "客服", "模型", "人工智能"), ASSISTANT),
    **dict.fromkeys(("tool", "tools", "function", "observation", "tool output"), TOOL),
    **dict.fromkeys(("function call", "tool call", "tool calls"), CALL),
    **dict.fromkeys(("tool response", "tool result", "function response", "ipython", "environment", "工具"), TOOL),
}
# The roles that are tried for a name that only the user can explain.
CHOICES = (USER, ASSISTANT, SYSTEM)
ALL_ROLES = {*CHOICES, TOOL, CALL}
# More unknown names than this are people's, and tell nothing of who answers.
MOST_UNKNOWN = 3


def role_of(name: str, explained: Mapping[str, str]) -> str:
    """Return the role that a name stands for, "" where it is unknown; those `explained` by the user or a file win."""
    return explained.get(name) or explained.get(name.strip().lower()) or ROLES.get(_normalize_name(name), "")


@lru_cache(1000)
def _normalize_name(name: str) -> str:
    """Return a name in lower case and the usual width, without marks such as in `<|User|>:`."""
    written = unicodedata.normalize("NFKC", name).lower().strip("<>|[]:#* \t\n")
    return " ".join(written.replace("_", " ").replace("-", " ").split())


def refuse_invalid_roles(explained: Mapping[str, str]) -> None:
    """Raise UsageError where a name is given another role than user, assistant, system or tool."""
    for name, role in explained.items():
        if role not in ALL_ROLES:
            example = _("NAME=user, NAME=assistant or NAME=system, as in `--role doctor=assistant`")
            raise UsageError(
                _("`--role` takes {example}; got `{name}={role}`").format(example=example, name=name, role=role)
            )


def roles_alternate(roles: Sequence[str]) -> bool:
    """Tell whether user and assistant take turns, the user first and the assistant last, behind at most one system."""
    turns = roles[1:] if roles[:1] == [SYSTEM] else roles
    return bool(turns) and list(turns) == [USER, ASSISTANT] * (len(turns) // 2)


def ask_for_roles(column: str, conversations: Iterable[Sequence[str]], explained: Mapping[str, str]) -> None:
    """Raise QuestionError where no conversation can be read before somebody tells who its names are.

    `conversations` are the names of who speaks in each of the first ones. Only what makes the most of them
    readable is offered.
    """
    spoken = [list(names) for names in conversations]
    unknown = list(dict.fromkeys(name for names in spoken for name in names if not role_of(name, explained)))
    if not unknown or len(unknown) > MOST_UNKNOWN or _count_readable(spoken, explained):
        return
    if offers := _roles_that_read_most(spoken, unknown, explained):
        names = joined(_(" and "), (f"`{shorten(name)}`" for name in unknown))
        one, several = _("it is unclear who {names} of `{column}` is"), _("it is unclear who {names} of `{column}` are")
        reason = (one if len(unknown) == 1 else several).format(names=names, column=shorten(column))
        raise QuestionError(reason, dict(map(_answer_with_options, offers)))


def _answer_with_options(offer: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return roles as an answer to a question: what it means, and its options."""
    meaning = joined(
        _(", "), (_("`{name}` is the {role}").format(name=shorten(name), role=role) for name, role in offer.items())
    )
    return meaning, [word for name, role in offer.items() for word in ("--role", f"{name}={role}")]


def _roles_that_read_most(
    spoken: Sequence[Sequence[str]], unknown: Sequence[str], explained: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return the ways to give the unknown names roles that make most conversations readable; [] where none does."""
    by_count: dict[int, list[dict[str, str]]] = {}
    for roles in product(CHOICES, repeat=len(unknown)):
        offer = dict(zip(unknown, roles, strict=True))
        by_count.setdefault(_count_readable(spoken, {**explained, **offer}), []).append(offer)
    most = max(by_count)
    return by_count[most] if most else []


def _count_readable(spoken: Iterable[Sequence[str]], explained: Mapping[str, str]) -> int:
    """Return in how many conversations, given as the names of who speaks, user and assistant take turns."""
    return sum(roles_alternate([role_of(name, explained) for name in names]) for names in spoken)
