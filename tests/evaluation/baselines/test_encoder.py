"""An encoder that is fine-tuned as a baseline, by the training environment's Python."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import FrameworkError, InputError
from ftbridge.evaluation.baselines.encoder import encoder
from ftbridge.evaluation.baselines.training_texts import Labelled

WORDS = {"sport": ["goal", "team", "ball"], "money": ["bank", "coin", "price"], "天气": ["rain", "sun", "wind"]}
KNOWN = ["the", *(word for own in WORDS.values() for word in own)]
TRAIN = [
    Labelled(f"{word} {other} the", label) for label, own in WORDS.items() for word in own for other in own * 2
]  # fmt: skip
ASKED = [(" ".join([*own, "the"][:length]), label) for label, own in WORDS.items() for length in (1, 2, 3)]


@pytest.fixture(scope="module")
def bert(make_encoder):
    return make_encoder("bert", KNOWN)


def answers_of(folder, python, questions, train=TRAIN, **options):
    options = {"learning_rate": 1e-2, "epochs": 12, **options}
    return list(encoder(folder, train, questions, python=python, device="cpu", **options))


@pytest.mark.framework
def test_an_encoder_learns_what_can_be_told_apart(bert, training_python, capsys):
    asked = [text for text, _ in ASKED]
    found = answers_of(bert, training_python, [*asked, "", "half \ud83d"])
    assert found[: len(asked)] == [label for _, label in ASKED]
    assert {*found} == {*WORDS}
    assert answers_of(bert, training_python, [*asked, "", "half \ud83d"]) == found
    assert capsys.readouterr().out == ""


@pytest.mark.matrix
@pytest.mark.framework
def test_texts_are_cut_to_what_the_model_takes(make_encoder, training_python):
    """RoBERTa's positions begin behind that of the padding: one text too long by one would be an error of torch."""
    long = "goal " + "the " * 100
    assert answers_of(make_encoder("roberta", KNOWN), training_python, [long], [*TRAIN, Labelled(long, "sport")]) == [
        "sport"
    ]


@pytest.mark.matrix
@pytest.mark.framework
def test_a_single_class_is_answered(bert, training_python):
    assert answers_of(bert, training_python, ["goal"], [Labelled("", "x")]) == ["x"]


@pytest.mark.matrix
@pytest.mark.framework
def test_other_models_are_refused_in_a_sentence(bert, project, training_python, tmp_path):
    with pytest.raises(InputError, match="it is a qwen2 model, and no encoder such as BERT or RoBERTa"):
        answers_of(project / "base", training_python, ["q"])
    foreign = shutil.copytree(bert, tmp_path / "foreign")
    shutil.copy(project / "base" / "tokenizer.json", foreign)
    with pytest.raises(InputError, match=r"foreign` cannot be used: its tokenizer .* or tokens that the model lacks"):
        answers_of(foreign, training_python, ["q"])
    damaged = shutil.copytree(bert, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"damaged` cannot be used: \w"):
        answers_of(damaged, training_python, ["q"])
    own = shutil.copytree(bert, tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": {"AutoConfig": "c.C"}}))
    (own / "c.py").write_text("raise SystemExit('I ran')")
    with pytest.raises(InputError, match=r"own` cannot be used: \w") as refused:
        answers_of(own, training_python, ["q"])
    assert "I ran" not in str(refused.value)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "not a model folder"),
        ("model.safetensors", "no weights in `model.safetensors`"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(tmp_path, missing, reason):
    for name in {"config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=reason):
        answers_of(tmp_path, Path(sys.executable), ["q"])


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(FrameworkError, match=r"could not be fine-tuned: its last messages:\n(.*\n)*.*torch"):
        answers_of(tmp_path, Path(sys.executable), ["q"])  # which has no torch
