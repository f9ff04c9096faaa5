"""What a training is told, and what is missing."""

import sys

import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.launchers.training.options import resolve_train_spec


def test_missing_backend_dataset_or_model_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftbridge.yaml").write_text(f"backends: {{xtuner: {{python: {sys.executable}}}}}")
    with pytest.raises(UsageError, match="--backend"):
        ftbridge.train()
    with pytest.raises(UsageError, match="convert one first"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no dataset `medqa`"):
        ftbridge.train(backend="xtuner", dataset="medqa", model=str(tmp_path))
    with pytest.raises(UsageError, match="no backend `axolotl`"):
        ftbridge.train(backend="axolotl", dataset="medqa", model=str(tmp_path))
    (tmp_path / "faq.jsonl").write_text('{"question": "a", "answer": "b"}')
    ftbridge.convert("faq.jsonl")
    with pytest.raises(UsageError, match="--model"):
        ftbridge.train(backend="xtuner")
    with pytest.raises(InputError, match="no model folder"):
        ftbridge.train(backend="xtuner", model="./nowhere")


@pytest.mark.parametrize(
    ("settings", "given", "told"),
    [
        (
            "template: qwen2.5\n",
            {},
            r"`--template` is for `--tokens native`; .* \(`template` stands in ftbridge.yaml\)$",
        ),
        ("", {"template": "qwen2.5"}, "`--template` is for `--tokens native`; take that, or leave `--template` out$"),
        ("tokens: native\n", {"learn": "last"}, "`--learn` is for `--tokens once`; take that, or leave `--learn` out$"),
        (
            "tokens: native\nchat_template: plain\n",
            {},
            r"`--tokens once`; .* \(`chat_template` stands in ftbridge.yaml\)$",
        ),
    ],
)
def test_options_of_the_other_tokens_are_refused_with_their_place(tmp_path, settings, given, told):
    (tmp_path / "ftbridge.yaml").write_text(settings)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text('{"faq": {"file_name": "faq.json"}}')
    project = Project.find(tmp_path)
    with pytest.raises(UsageError, match=told):
        resolve_train_spec(project, {"backend": "xtuner", "model": "base", "dataset": "faq", **given})
