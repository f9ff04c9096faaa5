"""What conversations hold beside questions and answers, in formats that have no place of their own for it.

A thought stands before its answer:

    <think>
    2 + 2
    </think>

    4
"""

import msgspec

from ftbridge.core.console import counted
from ftbridge.core.records import Conversation, Text, Turn, as_json
from ftbridge.language import gettext as _


def answer_with_thought(turn: Turn) -> Text:
    """Return the answer of a turn, with its thought before it, where it has one."""
    thought, answer = turn.thought, turn.output
    if not thought:
        return answer
    if isinstance(thought, str) and isinstance(answer, str):
        return f"<think>\n{thought}\n</think>\n\n{answer}"
    return msgspec.Raw(b'"<think>\\n' + as_json(thought)[1:-1] + b"\\n</think>\\n\\n" + as_json(answer)[1:])


def describe_not_held(count: int, target: str, what: str) -> str:
    """Return that so many samples are not in the file for a target; `what` is what that has no place for."""
    return _("{samples} not in the file for {target}, which cannot hold {what}").format(
        samples=counted(count, "sample is", "samples are"), target=target, what=what
    )


def is_plain_text(conversation: Conversation) -> bool:
    """Tell whether a conversation is nothing but texts whose answers are all learned."""
    if conversation.uses_tools:
        return False
    return all(turn.train for turn in conversation.turns)
