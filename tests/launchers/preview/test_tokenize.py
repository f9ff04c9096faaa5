"""Ready tokens made by hand are those that a training takes."""

import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.launchers.training.prepare import prepare

from ...builders.projects import write_project  # noqa: TID252
from ...builders.trainings import BACKENDS  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
def test_a_training_on_any_framework_takes_what_was_made_by_hand(in_project, capsys, packing):
    options = {"model": "base", "cutoff_length": 700, "packing": packing, "validation_dataset": "medqa-test"}
    made = ftbridge.tokenize("medqa", **options)
    train, validation = made.parts
    assert (train.dataset, validation.dataset) == ("medqa-train", "medqa-test")
    assert (made.chat_template, made.thinking, made.packing) == ("the chat template of `base`", None, packing)
    assert (train.counts.conversations, train.counts.samples) == (21, 21)
    assert (train.counts.rows < 21) == packing
    assert validation.counts.rows == validation.counts.samples  # never packed
    capsys.readouterr()
    for backend in BACKENDS:
        plan = prepare(**{**SMALL, **options}, dataset="medqa", backend=backend, tokens="once").plan
        assert [str(plan.tokens.folder), str(plan.validation_tokens.folder)] == [train.folder, validation.folder]
    assert "making the tokens" not in capsys.readouterr().err
    alone = ftbridge.tokenize("medqa", **{**options, "validation_dataset": "none"})
    assert alone.parts == made.parts[:1]


@pytest.mark.framework
def test_tokens_that_cannot_be_made_are_told(in_project):
    with pytest.raises(InputError, match="`medqa-train` has no answer to train on within 20 tokens"):
        ftbridge.tokenize("medqa", model="base", cutoff_length=20)
    with pytest.raises(InputError, match=r"conversation \d+ has \d+ tokens, and the cutoff length is 200"):
        ftbridge.tokenize("medqa", model="base", cutoff_length=200, too_long="refuse")


def test_a_model_without_a_tokenizer_or_a_dataset_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(write_project(tmp_path, "", 3))
    with pytest.raises(InputError, match="there is no dataset `medqa`"):
        ftbridge.tokenize("medqa", model="base")
    with pytest.raises(UsageError, match="which model"):
        ftbridge.tokenize("faq")
