"""Keys of messages beside their text: flags that leave answers out of the loss, thoughts, tools, media.

    {"role": "assistant", "content": "5", "loss_weight": 0.0}      a flag, by any name, that leaves an answer out
    {"role": "assistant", "content": "4", "reasoning": "2 + 2"}    a thought beside the answer

Flags and thoughts are read; tools and media are refused here. Other keys, such as a name or a time, are passed over.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ftbridge.adapters.values import BadValueError, checked_text, decode_raw, holds_nothing, shorten
from ftbridge.language import gettext as _
from ftbridge.language import joined, to_translate

# In English, by which they are compared, and in the user's language where they are shown.
TOOLS, MEDIA, REASONING = to_translate("tools"), to_translate("images, sound or video"), to_translate("reasoning")
# What is true of an answer that is learned, of one that is left out, and of either.
LOSS, NO_LOSS, MASK = "loss", _("no loss"), "mask"
ANY = (TOOLS, MEDIA, REASONING)
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
    **dict.fromkeys(("是否训练", "是否学习", "是否参与训练", "是否用于训练", "参与训练", "用于训练"), LOSS),
}
THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_a-zA-Z]+")
FLAG = re.compile("(un|non)?(loss|train|mask|weight)|learnable")
# A flag with one of these says which answers are left out, not which are learned.
NEGATIONS = {"no", "not", "non", "skip", "ignore", "ignored", "exclude", "excluded", "without", "disable", "drop"}
TRUE, FALSE = {"true", "1", "1.0", "yes", "y", "on", "是"}, {"false", "0", "0.0", "no", "n", "off", "否"}


@lru_cache(4096)
def key_kind(key: str) -> str:
    """Return the kind of a message's key, by its name: TOOLS, MEDIA, REASONING, LOSS, NO_LOSS or MASK, else ""."""
    words = [word.lower() for word in WORDS.findall(key)]
    if kind := KEY_KINDS.get(" ".join(words)):
        return kind
    if not any(FLAG.match(word) for word in words):
        return ""
    return _flag_kind(words)


def _flag_kind(words: Sequence[str]) -> str:
    """Return the kind of a flag by the words of its name: `no_loss` says what is left out, `mask` may say either."""
    learned = any(re.match("(un|non)?(loss|train)", word) for word in words)
    opposite = any(FLAG.match(word) and word.startswith(("un", "non")) for word in words)
    negated = opposite or not NEGATIONS.isdisjoint(words)
    if any(word.startswith("mask") for word in words):
        # `loss_mask` is 1 where the loss is taken; `mask`, `masked` and `mask_loss` say nothing as sure.
        return LOSS if learned and words[-1] == "mask" and not negated else MASK
    if not opposite and any(word.startswith(("un", "non")) for word in words):
        return MASK
    if negated:
        return NO_LOSS if learned else MASK
    return LOSS


def refuse_untrainable(item: Mapping[str, Any], kinds: Container[str] = ANY) -> None:
    """Raise BadValueError where a message or turn has what cannot be trained on, of these kinds."""
    for key, value in item.items():
        kind = key_kind(key)
        if kind in kinds and value is not None and value != 0 and not holds_nothing(value):
            raise BadValueError(_("has `{key}`: {kind} cannot be trained on yet").format(key=key, kind=_(kind)))


def is_learned(item: Mapping[str, Any]) -> bool:
    """Tell whether the flags of an answer leave it in; raises BadValueError for a part of 1, or an unclear mask."""
    learned = True
    for key, value in item.items():
        kind = key_kind(key)
        if value is None or kind not in {LOSS, NO_LOSS, MASK}:
            continue
        flag = _flag(key, value)
        if flag is None:
            continue
        if flag and kind == MASK:
            raise BadValueError(
                _("has `{key}` {value}, which may exclude or include the answer").format(key=key, value=shorten(value))
            )
        learned = learned and flag == (kind == LOSS) if kind != MASK else learned
    return learned


def thought_of(item: Mapping[str, Any], longest: int) -> str:
    """Return the thought beside an answer, "" for none; raises BadValueError for one that is no text, or for two."""
    found: dict[str, str] = {}
    for key, value in item.items():
        if key_kind(key) == REASONING and value != 0 and not holds_nothing(value):
            if not isinstance(value, str):
                raise BadValueError(
                    _("has `{key}`: reasoning that is not text cannot be trained on yet").format(key=key)
                )
            found[key] = checked_text(value, longest)
    if len({text.strip() for text in found.values()}) > 1:
        raise BadValueError(
            _("has {found}, which differ").format(found=joined(_(" and "), (f"`{key}`" for key in found)))
        )
    return next((text for text in found.values() if text.strip()), "")


def answer_without(thought: str, answer: str) -> str:
    """Return an answer without the thought in it that stands beside it, too; raises BadValueError for another one."""
    if not thought or not (inside := THOUGHT.match(answer)):
        return answer
    if inside[1].strip() != thought.strip():
        raise BadValueError(_("has a thought inside its text, and another in a separate field"))
    return answer[inside.end() :]


def refuse_partial_masks(answers: Iterable[Mapping[str, Any]]) -> None:
    """Raise BadValueError where a mask stands on some answers alone, whatever it says there."""
    answers = list(answers)
    for key in dict.fromkeys(key for answer in answers for key in answer if key_kind(key) == MASK):
        if 0 < sum(answer.get(key) is not None for answer in answers) < len(answers):
            raise BadValueError(
                _("has `{key}` on some answers only: unclear which answers are trained on").format(key=key)
            )


def is_left_out(column: str, value: Any) -> bool:
    """Tell whether a column's flag leaves its row out, as a value or as text, or some of it in a list of them."""
    value = decode_raw(value)
    if isinstance(value, list):
        return any(is_left_out(column, each) for each in value)
    return str(value).strip().lower() in (TRUE if key_kind(column) == NO_LOSS else FALSE)


def _flag(key: str, value: Any) -> bool | None:
    """Return whether a flag is on; None for what says neither, and is a flag only where its name is known.

    Raises BadValueError for a weight, and for a list that says both.
    """
    if isinstance(value, list):
        flags = {None if isinstance(each, list) else _flag(key, each) for each in value}
        if len(flags) > 1 or any(isinstance(each, list) for each in value):
            raise BadValueError(
                _("has `{key}` {value}: parts of an answer cannot be excluded from the loss yet").format(
                    key=key, value=shorten(value)
                )
            )
        return next(iter(flags), None)
    text = str(value).strip().lower()
    if text in TRUE | FALSE:
        return text in TRUE
    if isinstance(value, (int, float)):
        raise BadValueError(
            _("has `{key}` {value}: answers cannot be weighted, only excluded with 0").format(
                key=key, value=shorten(value)
            )
        )
    if text and not isinstance(value, dict) and " ".join(map(str.lower, WORDS.findall(key))) in KEY_KINDS:
        raise BadValueError(_("has `{key}` {value}, which is neither yes nor no").format(key=key, value=shorten(value)))
    return None
