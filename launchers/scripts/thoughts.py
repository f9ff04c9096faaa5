"""What a model thinks before it answers, as chat templates write it: in the prompt, in the answer, or nowhere."""

import re
from typing import Any

# A template whose prompt ends within a thought, as DeepSeek R1's, opens it so; the answer closes it.
THOUGHT_OPENED, THOUGHT_CLOSED = "<think>", "</think>"

_THOUGHT = re.compile(rf"\s*{THOUGHT_OPENED}(.*?){THOUGHT_CLOSED}\s*", re.DOTALL)
_NO_THOUGHT = re.compile(rf"(?:{THOUGHT_OPENED}\s*)?({THOUGHT_CLOSED}\s*)\Z")
# How a template begins for which ftbridge has decided that there are no thoughts, with a switch for them or without.
_OFF = re.compile(r"\{%- if (\w+) is not defined %\}\{%- set \1 = false %\}")

Message = dict[str, Any]


def as_template_reads(message: Message) -> Message:
    """Return a message without `train`, and with a thought that stands in its text as `reasoning_content`."""
    if message["role"] != "assistant" and "train" not in message:
        return message
    found = {key: value for key, value in message.items() if key != "train"}
    content = found.get("content") or ""
    thought = _THOUGHT.match(content) if found["role"] == "assistant" and THOUGHT_CLOSED in content else None
    if thought and "reasoning_content" not in found:
        found |= {"content": found["content"][thought.end() :], "reasoning_content": thought[1].strip()}
    return found


def thought_of(message: Message) -> str:
    """Return the thought of an answer, "" where it has none."""
    if "reasoning_content" not in message and THOUGHT_CLOSED not in (message.get("content") or ""):
        return ""
    return str(as_template_reads(message).get("reasoning_content") or "").strip()


def as_text(message: Message) -> Message:
    """Return an answer whose thought stands in its text, for a template that writes it nowhere."""
    rest = {key: value for key, value in message.items() if key != "reasoning_content"}
    thought = f"{THOUGHT_OPENED}\n{message['reasoning_content']}\n{THOUGHT_CLOSED}\n\n"
    return {**rest, "content": thought + (message.get("content") or "")}


def are_off(template: str) -> bool:
    """Tell whether the switch for thoughts of a template has been turned off."""
    return bool(_OFF.match(template))


def is_opened(prompt: str) -> bool:
    """Tell whether a prompt ends within a thought."""
    return prompt.rstrip().endswith(THOUGHT_OPENED)


def between(prompt: str, begun: str, thought: str) -> str | None:
    """Return what stands between a prompt and the text of its answer, which the template itself begins by `begun`.

    A prompt that opens a thought is followed by this `thought` and its end, one with an empty thought by nothing more.
    None where the two do not belong together.
    """
    if begun.startswith(prompt):
        return begun[len(prompt) :]
    empty = _NO_THOUGHT.search(begun)
    turn, closed = (begun[: empty.start()], empty[1]) if empty else (begun, f"\n{THOUGHT_CLOSED}\n\n")
    if not prompt.startswith(turn):
        return None
    if is_opened(more := prompt[len(turn) :]):
        return thought + ("\n" if more.endswith("\n") and not closed.startswith("\n") else "") + closed
    return None if empty else ""
