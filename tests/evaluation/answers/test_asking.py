"""What is asked, of whom, and into which folder, before anything is loaded; and one load for all that share a base."""

from pathlib import Path

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.evaluation.answers.asking import MOST_ADAPTERS, AskOptions, ask, names_to_answer, plan, plan_for_server
from ftbridge.evaluation.answers.engines import engine
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.weights.card import load_card
from ftbridge.weights.source import resolve

from ..answering_model import AnsweringModel, rows  # noqa: TID252


class AdaptedModel(AnsweringModel):
    """Stands for a base with adapters on it, of which one called `broken` does not fit."""

    def __init__(self, _python, card, _model, adapters, *_):
        super().__init__(_python, card)
        self.adapters = [Path(name).name for name in adapters]

    def __enter__(self):
        type(self).loaded.append(self.adapters)
        if "broken" in self.adapters:
            raise InputError("the adapter `broken` does not fit")
        return self

    def batch(self, prompts, stop, sampling, batch_size, *, adapter, card):
        assert adapter is None or Path(adapter).name in self.adapters
        assert Path(card.base).name == "model"
        return super().batch(prompts, stop, sampling, batch_size, adapter=None, card=self.card)


@pytest.fixture
def adapted(model, monkeypatch):
    """Return a function that makes folders of adapters, and plans for each: of itself, and of its base before it."""
    monkeypatch.setattr(AdaptedModel, "loaded", [], raising=False)
    monkeypatch.setattr(engine, "Generator", AdaptedModel)

    def make(*names, **options):
        pairs = []
        for name in names:
            folder = model.parent / name
            folder.mkdir(exist_ok=True)
            (folder / "adapter_config.json").write_text('{"r": 8}')
            (folder / "adapter_model.safetensors").write_bytes(name.encode())
            msgspec.structs.replace(load_card(model), base=str(model)).save(folder)
            source, asked = resolve(folder), AskOptions(**options)
            pairs += [
                plan(source, "all", asked, under=Path("out", name)),
                plan(source, "all", asked, under=Path("out", name, "before"), before=True),
            ]
        return pairs

    return make


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
        names_to_answer(source, None, None)
    planned = plan_for_server(Endpoint("http://localhost:1", "m"), source, "all", AskOptions(), under=Path("out"))
    assert (planned.model, planned.card, planned.adapter_name) == (None, None, "adapter")
    assert planned.settings.model == "m at http://localhost:1/v1"
    assert planned.settings.has_thoughts


def test_base_of_several_runs_is_asked_once_before_their_training(adapted):
    plans = adapted("one", "two", "three")
    ask(plans)
    assert len(AnsweringModel.asked) == 4 * 6
    first, *others = [each.folder for each in plans if each.is_before]
    assert all(rows(each) == rows(first) for each in others)
    ask(adapted("one", "two", "three", replace=True))
    assert len(AnsweringModel.asked) == 8 * 6
    ask(adapted("four", "one"))  # what was asked at an earlier time counts, in whatever order they are named
    assert len(AnsweringModel.asked) == 9 * 6
    assert rows(Path("out/four/before/all-train")) == rows(first)


def test_base_is_asked_what_it_was_not_asked_for_another_run(adapted):
    ask(adapted("one", limit=2))
    ask(adapted("one", "two"))
    assert len(AnsweringModel.asked) == 3 * 6
    ask(adapted("three", max_new_tokens=9) + adapted("one"))  # other settings give other answers
    assert len(AnsweringModel.asked) == 5 * 6


def test_a_few_adapters_are_loaded_at_a_time(adapted):
    names = [f"adapter-{number}" for number in range(MOST_ADAPTERS + 1)]
    assert {each.samples for each in ask(adapted(*names))} == {6}
    assert AdaptedModel.loaded == [names[:-1], names[-1:]]
    ask(adapted(*names, "new"))
    assert "new" in AdaptedModel.loaded[2]
    assert len(AdaptedModel.loaded) == 3


def test_adapter_that_does_not_fit_keeps_no_other_from_being_asked(adapted, capsys):
    plans = adapted("one", "broken", "two")
    with pytest.raises(InputError, match="`broken` does not fit"):
        ask(plans)
    assert "/broken` was not asked: the adapter" in capsys.readouterr().err
    done = [each.folder for each in plans if (each.folder / "predictions.jsonl").exists()]
    assert done == [each.folder for each in plans if "broken" not in each.folder.parts or each.is_before]
    assert len(AnsweringModel.asked) == 3 * 6
    loads = len(AdaptedModel.loaded)
    ask(adapted("one", "two"))
    assert len(AdaptedModel.loaded) == loads


def test_answers_of_other_settings_are_refused_before_anything_is_asked(adapted):
    ask(adapted("two", max_new_tokens=9))
    AnsweringModel.asked.clear()
    with pytest.raises(InputError, match="`--replace`"):
        ask(adapted("one", "two"))
    assert AnsweringModel.asked == []


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
