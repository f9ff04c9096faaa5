"""Talking to what was trained."""

import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError
from ftbridge.dialogue.chat import talk
from ftbridge.dialogue.generation import Sampling

pytestmark = pytest.mark.framework


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_the_same_answer_each_time_and_a_history(trained, in_project, backend):
    run = trained(backend=backend)
    ftbridge.merge(run.id)
    with talk(run.id, device="cpu", sampling=Sampling(max_new_tokens=12)) as conversation:
        first = "".join(conversation.say("what is aspirin taken for"))
        second = "".join(conversation.say("what is aspirin taken for"))
        assert len(conversation.turns) == 2
        conversation.reset()
        assert "".join(conversation.say("what is aspirin taken for")) == first
        conversation.reset()
        conversation.sampling = Sampling(max_new_tokens=12, temperature=5.0, seed=1)
        assert "".join(conversation.say("what is aspirin taken for")) != first
        assert conversation.system.startswith("You are a professional")
    assert second is not None


def test_command_answers_once(trained, in_project, run_ftbridge):
    run = trained(backend="xtuner")
    done = run_ftbridge("chat", run.id, "--prompt", "你好", "--max-new-tokens", "3", "--device", "cpu", cwd=in_project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")


def test_a_conversation_too_long_is_refused(trained, in_project):
    run = trained(backend="xtuner")
    with talk(run.id, device="cpu") as conversation, pytest.raises(FrameworkError, match="the model takes 2048"):
        list(conversation.say("aspirin " * 3000))
