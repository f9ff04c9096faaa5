"""Thoughts and placeholders in samples, as a training's checks tell of them."""

import pytest

from ftbridge.core.records import Conversation, Turn, Where
from ftbridge.launchers.preflight.markers import mark_checks
from ftbridge.templates.families import get_family


def sample(*answers, question="w"):
    return Conversation("", tuple(Turn(question, "", answer) for answer in answers), Where("a", 1))


THINKING = [sample("<think>hm</think>w", "hm</think>w"), sample("w"), sample("w", question="<video>")]


@pytest.mark.parametrize(
    ("backend", "family", "expected"),
    [
        ("xtuner", "qwen3", "Qwen 3 is trained with thinking off, and XTuner trains on them behind"),
        ("llamafactory", "qwen3", "Qwen 3 is trained with thinking off, and LLaMA-Factory drops those"),
        ("xtuner", "qwen2.5", "Qwen 2.5 has no thinking, so they are trained on as text"),
    ],
)
def test_answers_with_thoughts_and_samples_with_placeholders_are_counted(backend, family, expected):
    thoughts, video = mark_checks(iter(THINKING), get_family(family), backend)
    assert (thoughts.name, thoughts.status) == ("thoughts", "warning")
    assert thoughts.found.startswith(f"of 3 samples checked, 2 answers hold `<think>`: {expected}")
    assert video.found.startswith("of 3 samples checked, 1 hold `<video>`: ")


def test_plain_samples_give_no_marker_warning():
    assert mark_checks([sample("1 < 2, <b>so</b>")], get_family("qwen3"), "xtuner") == []
