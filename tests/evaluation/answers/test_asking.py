"""What is asked, of whom, and into which folder, before anything is loaded; and one load for all that share a base."""

from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import UsageError
from ftbridge.evaluation.answers.asking import AskOptions, ask, plan, plan_for_server
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.weights.source import resolve

from ..answering_model import AnsweringModel, rows  # noqa: TID252


def test_models_of_one_folder_are_loaded_once(model, capsys):
    source, options = resolve(model), AskOptions()
    plans = [plan(source, name, options, under=Path("out")) for name in ("all", "parts")]
    assert [each.folder for each in plans] == [Path("out/all-train"), Path("out/parts-test")]
    answered = ask(plans)
    assert [(each.samples, each.asked) for each in answered] == [(6, 6), (3, 3)]
    assert capsys.readouterr().err.count("loading the model") == 1
    assert [(each.samples, each.asked) for each in ask(plans)] == [(6, 0), (3, 0)]
    assert capsys.readouterr().err.count("loading the model") == 0
    assert len(AnsweringModel.asked) == 9


def test_server_needs_no_model_and_its_answers_are_kept_apart(model):
    source = resolve(model)
    with pytest.raises(UsageError, match="give `--dataset NAME`"):
        plan_for_server(Endpoint("http://localhost:1", "m"), source, None, AskOptions(), under=Path("out"))
    planned = plan_for_server(Endpoint("http://localhost:1", "m"), source, "all", AskOptions(), under=Path("out"))
    assert (planned.model, planned.card, planned.adapter_name) == (None, None, "adapter")
    assert planned.settings.model == "m at http://localhost:1/v1"
    assert planned.settings.has_thoughts


@pytest.mark.framework
def test_base_is_loaded_once_and_answers_as_without_an_adapter(trained, in_project, tmp_path, capsys):
    run = trained(backend="xtuner")
    source = resolve(run.id)
    options = AskOptions(max_new_tokens=6, limit=3, dtype="float32")
    plans = [
        plan(source, "medqa", options, under=tmp_path / name, before=name == "before") for name in ("after", "before")
    ]
    assert plans[0].model == plans[1].model == Path("base").resolve()
    assert (plans[0].adapter_name is None, plans[1].adapter_name) == (False, None)
    ask(plans)
    assert capsys.readouterr().err.count("loading the model") == 1
    name = plans[0].data.name
    alone = ftbridge.predict("base", "medqa", out=tmp_path / "alone", max_new_tokens=6, limit=3, dtype="float32")
    after, before = (rows(tmp_path / each / name) for each in ("after", "before"))
    own = rows(Path(alone.file).parent)
    assert [row["answer"] for row in before] == [row["answer"] for row in own]
    assert [row["prompt"] for row in before] == [row["prompt"] for row in after]
    assert [row["answer"] for row in before] != [row["answer"] for row in after]
