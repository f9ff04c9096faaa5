"""Keys of messages that cannot be trained on: flags that leave answers out of the loss, tools, reasoning, media.

    {"role": "assistant", "content": "5", "loss_weight": 0.0}      a flag, by any name, that leaves an answer out
    {"role": "assistant", "content": "4", "reasoning": "2 + 2"}    a thought beside the answer

Other keys, such as a name or a time, are passed over.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ftbridge.adapters.values import BadValueError, decode_raw, holds_nothing, shorten

TOOLS, MEDIA, REASONING, LOSS, MASK = "tools", "images, sound or video", "reasoning", "loss", "mask"
# Keys of a message by what they hold, in lower case, words parted by a blank.
KEY_KINDS = {
    **dict.fromkeys(("tool calls", "function call", "tool call id", "tools", "functions", "commands"), TOOLS),
    **dict.fromkeys(("tool call", "function calls", "tool responses", "tool results"), TOOLS),
    **dict.fromkeys(("image", "images", "video", "videos", "audio", "audios", "image url", "image urls"), MEDIA),
    **dict.fromkeys(("reasoning", "reasoning content", "reasoning text", "reasoning details", "rationale"), REASONING),
    **dict.fromkeys(("reasoning steps", "reasoning trace", "reasoning process", "think", "thinking"), REASONING),
    **dict.fromkeys(("thinking content", "thinking blocks", "thinking process", "thought", "thoughts"), REASONING),
    **dict.fromkeys(("thought process", "inner thoughts", "cot", "chain of thought", "scratchpad"), REASONING),
    **dict.fromkeys(("思考", "思考过程", "思维链", "推理", "推理过程", "想法"), REASONING),
    **dict.fromkeys(("loss", "output with loss", "weight", "train", "learn", "supervise", "supervised"), LOSS),
}
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_a-zA-Z]+")
FLAG = re.compile("(un|non)?(loss|train|mask|weight)|learnable")
# A flag with one of these says which answers are left out, not which are learned.
NEGATIONS = {"no", "not", "non", "skip", "ignore", "ignored", "exclude", "excluded", "without", "disable", "drop"}
TRUE, FALSE = {"true", "1", "1.0", "yes", "y", "on", "是"}, {"false", "0", "0.0", "no", "n", "off", "否"}


@lru_cache(4096)
def key_kind(key: str) -> str:
    """Return the kind of a message's key, by its name: TOOLS, MEDIA, REASONING, LOSS or MASK, else ""."""
    words = [word.lower() for word in WORDS.findall(key)]
    if kind := KEY_KINDS.get(" ".join(words)):
        return kind
    if not any(FLAG.match(word) for word in words):
        return ""
    learned = any(word.startswith(("loss", "train")) for word in words)
    masks = any(word.startswith("mask") for word in words)
    negated = not NEGATIONS.isdisjoint(words) or any(word.startswith(("un", "non")) for word in words)
    # `loss_mask` is 1 where the loss is taken; `mask`, `masked` and `mask_loss` say nothing as sure.
    return MASK if negated or (masks and not (learned and words[-1] == "mask")) else LOSS


def refuse_untrainable(item: Mapping[str, Any], *, trained: bool) -> None:
    """Raise BadValueError where a message or turn has what cannot be trained on; flags count where it is `trained`."""
    for key, value in item.items():
        kind = key_kind(key)
        if not kind or value is None:
            continue
        if kind in {LOSS, MASK}:
            if trained and not _keeps_answer(key, kind, value):
                raise BadValueError(f"has `{key}` {shorten(value)}: no answer can be left out of the loss yet")
        elif value != 0 and not holds_nothing(value):
            raise BadValueError(f"has `{key}`: {kind} cannot be trained on yet")


def refuse_partial_masks(answers: Iterable[Mapping[str, Any]]) -> None:
    """Raise BadValueError where a mask stands on some answers alone, whatever it says there."""
    answers = list(answers)
    for key in dict.fromkeys(key for answer in answers for key in answer if key_kind(key) == MASK):
        if 0 < sum(answer.get(key) is not None for answer in answers) < len(answers):
            raise BadValueError(f"has `{key}` on some answers only: no answer can be left out of the loss yet")


def is_flag_off(value: Any) -> bool:
    """Tell whether a column's flag is false or 0, as a value or as text, or in a list of them."""
    value = decode_raw(value)
    if isinstance(value, list):
        return any(map(is_flag_off, value))
    return str(value).strip().lower() in {"false", "0", "0.0"}


def _keeps_answer(key: str, kind: str, value: Any) -> bool:
    """Tell whether a flag leaves the answer in; what says neither yes nor no is a flag only where its name is known."""
    if isinstance(value, list):
        return all(not isinstance(each, list) and _keeps_answer(key, kind, each) for each in value)
    text = str(value).strip().lower()
    if isinstance(value, (bool, int, float)) or text in TRUE | FALSE:
        return text in (TRUE if kind == LOSS else FALSE)
    return not text or isinstance(value, dict) or " ".join(map(str.lower, WORDS.findall(key))) not in KEY_KINDS
