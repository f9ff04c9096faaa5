"""The answers before and after a merge: the same where it is right, and an error where it is not."""

import contextlib
import json

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.evaluation.answers import verify
from ftbridge.evaluation.answers.verify import first_questions, same_answers
from ftbridge.weights.card import card_of
from ftbridge.weights.source import resolve

from ...builders.runs import record_run  # noqa: TID252


class Parrot:
    """Stands in for a loaded model; a merged one answers as `merged` says, each word ahead of another by `margin`."""

    merged, margin = str.upper, 3.0

    def __init__(self, _python, card, _model, adapter, _cards, _loading):
        self.card, self.adapter = card, adapter

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, turns, *_, **__):
        question = turns[0][0]
        words = (question.upper() if self.adapter else type(self).merged(question)).split()
        self.margins = [(hash(word), self.margin) for word in words]
        yield from words


@pytest.fixture
def asked(in_project, trained, monkeypatch):
    """Return card, adapter and folder of a run, with a parrot for its model."""
    monkeypatch.setattr(verify, "Generator", Parrot)
    found = resolve(trained(backend="xtuner").id)
    return card_of(found), found.folder / "adapter", found.folder / "merged"


@pytest.mark.framework
def test_verify_asks_as_many_questions_as_it_is_told(asked, capsys):
    same_answers(3, "cpu")(*asked)
    assert "3 of 3 answers are the same" in capsys.readouterr().err


@pytest.mark.framework
def test_merged_answers_that_differ_at_once_are_an_error_and_are_shown(asked, capsys, monkeypatch):
    monkeypatch.setattr(Parrot, "merged", str.lower)
    with pytest.raises(FrameworkError, match=r"do: 0 of 2 answers are the same, and .* trained on: report this as"):
        same_answers(2, "cpu")(*asked)
    assert capsys.readouterr().err.count("base and adapter: '") == 2
    card, *folders = asked
    with pytest.raises(FrameworkError, match="Is the base the one that was trained on"):
        same_answers(2, "cpu")(msgspec.structs.replace(card, trained_on=None), *folders)


@pytest.mark.framework
def test_answers_that_part_where_two_words_are_as_likely_are_no_error(asked, tmp_path, capsys, monkeypatch):
    """As those of a model that has learned next to nothing, which is no fault of the merge."""
    monkeypatch.setattr(Parrot, "merged", str.lower)
    monkeypatch.setattr(Parrot, "margin", 0.01)
    card, adapter, _folder = asked
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    same_answers(2, "cpu")(card, adapter, tmp_path)
    said = capsys.readouterr().err
    assert "0 of 2 answers are the same" in said
    assert "2 of the others differ where two words are equally likely; rounding to bfloat16 decides" in said


@pytest.mark.framework
@pytest.mark.parametrize(("kept", "right"), [(0.6, True), (0.4, False)])
def test_answers_that_rounding_tips_over_late_are_no_error(asked, capsys, monkeypatch, kept, right):
    def tipped(question):
        place = int(len("".join(question.split())) * kept)
        whole = "".join(question.upper().split())
        return whole[:place] + whole[place:].lower()

    monkeypatch.setattr(Parrot, "merged", tipped)
    with contextlib.nullcontext() if right else pytest.raises(FrameworkError):
        same_answers(2, "cpu")(*asked)
    assert "0 of 2 answers are the same" in capsys.readouterr().err


@pytest.mark.framework
def test_verify_of_an_adapter_without_a_run_is_refused(asked):
    card, adapter, folder = asked
    with pytest.raises(UsageError, match=r"`--verify-answers` asks .* this adapter belongs to no run"):
        same_answers(2, "cpu")(msgspec.structs.replace(card, run=""), adapter, folder)


@pytest.mark.matrix
def test_a_real_merge_answers_as_its_adapter(trained, in_project, capsys):
    run = trained(backend="llamafactory")
    ftbridge.merge(run.id, check=same_answers(2, "cpu"))
    assert "of 2 answers are the same" in capsys.readouterr().err


@pytest.fixture
def faq_project(tmp_path, monkeypatch):
    """Stand in a project with a dataset `faq` of three samples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [{"instruction": f"q{number}", "input": "", "output": "a", "system": "s"} for number in range(3)]
    (tmp_path / "data" / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"file_name": "faq.jsonl", "columns": {"prompt": "instruction", "response": "output", "system": "system"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"faq": entry}))
    (tmp_path / "runs" / "one").mkdir(parents=True)
    return Project.find()


def test_the_first_samples_are_asked_with_their_system_prompt(faq_project):
    run = record_run(faq_project, "one")
    assert first_questions(faq_project, run, 2) == [("s", "q0"), ("s", "q1")]
    assert len(first_questions(faq_project, run, 9)) == 3


def test_a_dataset_that_is_gone_is_told(faq_project):
    with pytest.raises(InputError, match="other"):
        first_questions(faq_project, record_run(faq_project, "one", dataset="other"), 2)
