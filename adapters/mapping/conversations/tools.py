r"""Tools in conversations: those that are offered, the calls of an answer, and what they answered.

    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}   OpenAI
    {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}                                ShareGPT
    {"from": "observation", "value": "42"}

All become what chat templates read: OpenAI's, with arguments that are objects.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ftbridge.adapters.mapping.conversations.flags import TOOLS, key_kind
from ftbridge.adapters.values import BadValueError, holds_nothing, parse_container, shorten
from ftbridge.core.records import Observation
from ftbridge.language import gettext as _

# Keys of an answer under which its calls stand, and of what a tool says, under which the call's id does.
CALL_KEYS, RESULT_KEYS = {"tool_calls", "function_call"}, {"tool_call_id"}


def refuse_other_tool_keys(message: Mapping[str, Any], known: set[str]) -> None:
    """Raise BadValueError where a message has tools under another key than those `known`."""
    for key, value in message.items():
        if key not in known and key_kind(key) == TOOLS and value != 0 and not holds_nothing(value):
            raise BadValueError(_("has `{key}`: tools cannot be trained on there").format(key=key))


def calls_of(message: Mapping[str, Any]) -> str:
    """Return the calls of an answer as JSON, "" for none; raises BadValueError for what is no call."""
    found = [message[key] for key in message if key in CALL_KEYS and not holds_nothing(message[key])]
    return calls_as_json(found[0]) if found else ""


def calls_as_json(value: Any) -> str:
    """Return calls as a JSON list, given one or several, as objects or as JSON text; raises BadValueError."""
    value = parse_container(value)
    calls = [_call(parse_container(each)) for each in (value if isinstance(value, list) else [value])]
    if not calls:
        raise BadValueError(_("calls no tool"))
    return msgspec.json.encode(calls).decode()


def _call(value: Any) -> dict[str, Any]:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise BadValueError(
            _("has the call `{value}`, which is not an object with `name` and `arguments`").format(value=shorten(value))
        )
    arguments = function.get("arguments", function.get("parameters"))
    arguments = {} if arguments is None or arguments == "" else parse_container(arguments)
    if not isinstance(arguments, dict):
        raise BadValueError(
            _("calls `{name}` with `{arguments}`, which is not a JSON object").format(
                name=shorten(name), arguments=shorten(arguments)
            )
        )
    call_id = value.get("id")
    return {
        **({"id": call_id} if isinstance(call_id, str) and call_id else {}),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def tools_as_json(value: Any) -> str:
    """Return the tools that a column offers as a JSON list, "" for none; raises BadValueError for what is none."""
    if holds_nothing(value):
        return ""
    value = parse_container(value)
    value = value if isinstance(value, list) else [value]
    return msgspec.json.encode([_tool(parse_container(each)) for each in value]).decode()


def _tool(value: Any) -> dict[str, Any]:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadValueError(
            _("holds `{value}`, which is not a tool (an object with `name` and `parameters`)").format(
                value=shorten(value)
            )
        )
    return value if function is not value else {"type": "function", "function": value}


def observation_of(message: Mapping[str, Any], text: str) -> Observation:
    """Return what a tool says in a message with this text."""
    name, call = (message.get(key) for key in ("name", "tool_call_id"))
    return Observation(text, name if isinstance(name, str) else "", call if isinstance(call, str) else "")


def result_text(content: Any) -> Any:
    """Return what a tool says as text: JSON where it is an object, or a list that is not of parts."""
    parts = isinstance(content, list) and all(isinstance(each, dict) and "type" in each for each in content)
    if isinstance(content, dict) or (isinstance(content, list) and not parts):
        return msgspec.json.encode(content).decode()
    return content
