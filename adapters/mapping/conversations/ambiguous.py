"""Tables that may hold conversations, where only the user can tell: one message a row, turns under unknown names."""

from typing import Any

from ftbridge.adapters.mapping.conversations.formats import (
    ALTERNATING,
    PAIRS,
    conversation_items,
    is_conversation_header,
    is_surely_conversation,
    message_keys,
    style_of,
)
from ftbridge.adapters.mapping.conversations.roles import role_of
from ftbridge.adapters.mapping.headers import normalize_header
from ftbridge.adapters.values import decode_raw, is_blank, shorten
from ftbridge.core.errors import InputError, QuestionError
from ftbridge.core.records import Table
from ftbridge.language import gettext as _

# Columns of OASST, whose rows are the messages of a tree, or whole trees.
MESSAGES_OF_TREE, TREES = {"message id", "parent id", "text", "role"}, {"message tree id", "prompt"}
SIDES = 2


def refuse_single_messages(table: Table) -> None:
    """Raise InputError where each row of `table` is one message of a conversation, or a tree of messages."""
    headers = {normalize_header(column) for column in table.columns}
    rows = [{column: decode_raw(value) for column, value in row.values.items()} for row in table.first if row.values]
    wanted = _('give each conversation as one row, `{"messages": [{"role": "user", "content": "..."}, ...]}`')
    if headers >= MESSAGES_OF_TREE or (headers >= TREES and any(isinstance(row.get("prompt"), dict) for row in rows)):
        raise InputError(
            _(
                "`{file}` holds trees of messages, as OASST does, with several answers to a question; "
                "choose one path through each tree, such as that of the answers with the best `rank`, "
                "and {wanted}"
            ).format(file=table.file, wanted=wanted)
        )
    keys = message_keys(rows[0], {}) if rows else None
    if keys and keys[1] in rows[0] and all(role_of(str(row.get(keys[0], "")), {}) for row in rows):
        raise InputError(
            _("each row of `{file}` is one message (`{key}`, `{other}`); {wanted}").format(
                file=table.file, key=keys[0], other=keys[1], wanted=wanted
            )
        )


def ask_for_turns(table: Table) -> None:
    """Raise QuestionError where one column may hold conversations, and only the user can tell."""
    for column in table.columns:
        values = (conversation_items(row.values.get(column)) for row in table.first)
        value = next((value for value in values if not is_blank(value)), None)
        style = style_of(value)
        if not style and is_conversation_header(column):
            _ask_for_sides(column, value)
        if style and style not in {PAIRS, ALTERNATING} and not is_surely_conversation(column, style):
            raise QuestionError(
                _(
                    "`{column}` of `{file}` holds questions and answers, and it is unclear whether each "
                    "continues the one before, as in a conversation; if not, give each as a row of its own"
                ).format(column=shorten(column), file=table.file),
                {_("each row is one conversation"): ["--map", f"messages={column}"]},
            )


def _ask_for_sides(column: str, value: Any) -> None:
    """Raise QuestionError where `value` is a list of turns whose two keys nobody has explained."""
    sides = _sides_of_turns(value)
    if sides:
        answers = {
            _("`{user}` is the user, `{other}` the assistant").format(user=user, other=other): [
                "--role",
                f"{user}=user",
                "--role",
                f"{other}=assistant",
            ]
            for user, other in (sides, sides[::-1])
        }
        raise QuestionError(
            _("it is unclear who `{side}` and `{other}` of `{column}` are").format(
                side=sides[0], other=sides[1], column=shorten(column)
            ),
            answers,
        )


def _sides_of_turns(value: Any) -> tuple[str, ...]:
    """Return the two keys, one a side, that all turns of a list have; () where it is no such list."""
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return ()
    sides = tuple(value[0])
    alike = all(tuple(each) == sides and all(isinstance(text, str) for text in each.values()) for each in value)
    return sides if alike and len(sides) == SIDES else ()
