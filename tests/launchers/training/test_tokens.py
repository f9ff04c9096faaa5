"""Trainings on tokens that are made once, their resumption, and what is made of them afterwards."""

import json
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError
from ftbridge.core.project import Project
from ftbridge.launchers.runs.record import all_runs
from ftbridge.launchers.training.prepare import describe, prepare
from ftbridge.launchers.training.tokens import has_thoughts

from ...builders.trainings import BACKENDS  # noqa: TID252
from ...conftest import SMALL  # noqa: TID252

ONCE = {"tokens": "once", "validation_dataset": "medqa-test"}


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"content": "yes"}', False), ('{"reasoning_content": "hm"}', True), ('{"content": "<think>hm</think>"}', True)],
)
@pytest.mark.parametrize("before", [0, (1 << 20) - 8, 1 << 20])
def test_thoughts_are_found_wherever_they_stand(tmp_path, text, found, before):
    file = tmp_path / "faq.messages.jsonl"
    file.write_text(" " * before + text)
    assert has_thoughts(file) == found


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_on_ready_tokens_validates_and_is_asked_by_its_chat_template(trained, in_project, backend):
    run = trained(backend=backend, **ONCE)
    made = ftbridge.tokenize("medqa", model="base", backend=backend, validation_dataset="medqa-test")
    assert run.tokens == tuple(Path(part.folder).name for part in made.parts)
    assert [part.dataset for part in made.parts] == ["medqa-train", "medqa-test"]
    assert run.agreement.readers == ("chat template", "XTuner", "LLaMA-Factory", "merged folder")
    assert (run.agreement.same, run.agreement.causes) == (run.agreement.samples, {})
    assert run.agreement.samples > 0
    records = ftbridge.runs.losses(run)
    assert {"loss", "validation_loss"} <= {key for record in records for key in record}
    assert run.chat_template.origin == made.chat_template == "the chat template of `base`"
    merged = ftbridge.merge(run)
    assert Path(merged, "chat_template.jinja").read_text() == run.chat_template.text
    answer = ftbridge.chat(run, "what is aspirin taken for", device="cpu")
    assert answer
    found = ftbridge.predict(run, "medqa-test", limit=2, max_new_tokens=4, device="cpu")
    rows = [json.loads(line) for line in Path(found.file).read_text("utf-8").splitlines()]
    assert (found.asked, len(rows)) == (2, 2)
    assert all(row["prompt"].endswith("<|im_start|>assistant\n") for row in rows)


@pytest.mark.framework
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("recorder")
def test_a_resumed_training_on_ready_tokens_goes_on_with_the_same(in_project, trained, monkeypatch, backend):
    with monkeypatch.context() as patch:
        patch.setenv("CRASH_AT", "5")  # step 3 is saved
        with pytest.raises(FrameworkError):
            ftbridge.train(**SMALL, dataset="medqa", backend=backend, **ONCE)
    stopped = all_runs(Project.find())[-1]
    assert stopped.status == "failed"
    run = ftbridge.train(resume=stopped.id)
    assert (run.id, run.status, len(run.attempts)) == (stopped.id, "succeeded", 2)
    assert run.tokens == stopped.tokens == trained(backend=backend, **ONCE).tokens


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
def test_a_dry_run_tells_rows_steps_and_the_chat_template(in_project, packing):
    options = {**SMALL, "dataset": "medqa", "backend": "xtuner", "packing": packing, "cutoff_length": 600, **ONCE}
    ready = prepare(**options)
    told = dict(describe(ready))
    assert told["model"] == "base, by the chat template of `base`"
    rows = ready.plan.tokens.counts.rows
    assert (rows == 21) == (not packing)
    assert told["tokens"].startswith(f"21 samples in {rows} rows, ")
    assert told["steps"].startswith(f"{-(-rows // 4)} optimiser steps")
    assert ready.plan.validation_tokens.counts.rows == ready.plan.validation.entry.samples  # never packed


@pytest.mark.framework
def test_a_chat_template_is_found_from_any_folder_of_the_project(in_project, monkeypatch):
    text = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
    Path("own.jinja").write_text(text + "{% if add_generation_prompt %}assistant: {% endif %}")
    Path("ftbridge.yaml").touch()  # by which the project's folder is told from below
    monkeypatch.chdir("data")
    options = {**SMALL, "dataset": "medqa", "dataset_dir": ".", "model": "../base", "backend": "xtuner", **ONCE}
    ready = prepare(**options, chat_template="../own.jinja")
    assert ready.plan.chat_template.text.startswith("{% for")
    assert ready.plan.spec.chat_template == "own.jinja"
