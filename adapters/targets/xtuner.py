"""XTuner's format: `{"conversation": [{"system": "...", "input": "...", "output": "..."}, ...]}`.

Every turn has the same keys, since `datasets` fills what is missing with null; only the first has a system. Once a turn
of a file is not trained, all of its turns say so: `"output_with_loss": false`, or true. Tools have no place in it.
"""

from typing import Any

import msgspec

from ftbridge.adapters.targets.text_only import answer_with_thought
from ftbridge.core.records import Conversation, Text

suffix = "xtuner.jsonl"
entry: dict[str, Any] | None = None


class WrittenTurn(msgspec.Struct, gc=False):
    """One question and its answer, as they are written."""

    system: Text
    input: Text
    output: Text


class Sample(msgspec.Struct, gc=False):
    """One sample as it is written."""

    conversation: list[WrittenTurn]


class FlaggedTurn(msgspec.Struct, gc=False):
    """A turn of a file in which some are not trained."""

    system: Text
    input: Text
    output: Text
    output_with_loss: bool = True


class FlaggedSample(msgspec.Struct, gc=False):
    """One sample of a file in which some turns are not trained."""

    conversation: list[FlaggedTurn]


_decode_sample = msgspec.json.Decoder(FlaggedSample).decode


def sample(conversation: Conversation) -> Sample | FlaggedSample | None:
    """Return the sample as it is written, None where it has tools."""
    if conversation.tools:
        return None
    turns = []
    for turn in conversation.turns:
        if turn.beside is not None:
            return _sample_with_more(conversation)
        turns.append(WrittenTurn("", turn.user, turn.output))
    turns[0].system = conversation.system
    return Sample(turns)


def _sample_with_more(conversation: Conversation) -> Sample | FlaggedSample | None:
    """Return the sample of a conversation with thoughts or answers that are not learned; None where it calls tools."""
    turns = conversation.turns
    if conversation.uses_tools:
        return None
    systems = (conversation.system, *[""] * (len(turns) - 1))
    texts = [(system, turn.user, answer_with_thought(turn)) for system, turn in zip(systems, turns, strict=True)]
    if all(turn.train for turn in turns):
        return Sample([WrittenTurn(*each) for each in texts])
    return FlaggedSample([FlaggedTurn(*each, turn.train) for each, turn in zip(texts, turns, strict=True)])


def with_flags(written: bytes) -> bytes:
    """Return a sample as it is written into a file in which some answers are not learned."""
    return msgspec.json.encode(_decode_sample(written))
