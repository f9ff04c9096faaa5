"""Trainings on tokens that are made once, their resumption, and what is made of them afterwards."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import ftbridge
from ftbridge.core.errors import FrameworkError, InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.launchers.runs.record import all_runs
from ftbridge.launchers.training.prepare import describe, prepare, resolve_datasets
from ftbridge.launchers.training.tokens import chat_template_of, check_takes_tokens, has_thoughts, with_possible_tokens

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


@pytest.fixture
def template_less(in_project, tmp_path):
    """Return the base model without its chat template, by whose files it is taken for Qwen 2.5."""
    model = shutil.copytree(in_project / "base", tmp_path / "plain 7B")
    (model / "chat_template.jinja").unlink()
    return model


def spec_of(model, **options):
    return TrainSpec(**{"backend": "xtuner", "model": str(model), "dataset": "medqa", "device": "cpu", **options})


NOTE = "note: `plain 7B` has no chat template; that of Qwen 2.5 is used (`--tokens native`)"


def test_a_model_of_a_known_family_without_a_template_keeps_the_frameworks_tokens(template_less, in_project, capsys):
    spec = spec_of(template_less)
    assert with_possible_tokens(spec, template_less) == msgspec.structs.replace(spec, tokens="native")
    assert capsys.readouterr().err.strip() == NOTE
    whole = in_project / "base"
    for asked, model in (
        (spec, whole),
        (spec_of(template_less, tokens="native"), template_less),
        (spec_of(template_less, chat_template="plain"), template_less),
        (spec_of(template_less, learn="last"), template_less),
    ):
        assert with_possible_tokens(asked, model) is asked
    assert capsys.readouterr().err == ""


def test_a_model_of_no_family_without_a_template_is_not_given_any(template_less, capsys):
    for name, content in (("config.json", '{"model_type": "bloom"}'), ("tokenizer.json", "{}")):
        (template_less / name).write_text(content)
    spec = spec_of(template_less)
    assert with_possible_tokens(spec, template_less) is spec
    with pytest.raises(UsageError, match="has no chat template; name one with `--chat-template`"):
        prepare(backend="xtuner", model=str(template_less), dataset="medqa", device="cpu")
    assert capsys.readouterr().err == ""


def test_a_backend_that_takes_no_tokens_keeps_its_own(in_project, capsys):
    backend = SimpleNamespace(title="Plain", token_columns=())
    spec = spec_of("base")
    assert with_possible_tokens(spec, in_project / "base", backend).tokens == "native"
    assert capsys.readouterr().err == "note: Plain does not train on ready tokens (`--tokens native`)\n"
    asked = spec_of("base", learn="last")
    assert with_possible_tokens(asked, in_project / "base", backend) is asked
    with pytest.raises(UsageError, match="Plain does not train on ready tokens; take `--tokens native`"):
        check_takes_tokens(backend, asked)


def test_a_training_and_a_preview_say_once_that_they_do_without(template_less, capsys):
    ready = prepare(**SMALL | {"model": str(template_less)}, dataset="medqa", backend="llamafactory")
    assert (ready.plan.spec.tokens, ready.plan.tokens, ready.plan.family.name) == ("native", None, "qwen2.5")
    assert "medqa-train.alpaca.jsonl" in ready.plan.sha256
    assert capsys.readouterr().err.count(NOTE) == 1


def test_ready_tokens_of_such_a_model_need_a_chat_template(template_less):
    with pytest.raises(UsageError, match="has no chat template; name one with `--chat-template`: a Jinja file"):
        ftbridge.tokenize("medqa", model=str(template_less))


@pytest.mark.parametrize("text", ["{{ strftime_now('%d') }}", "{% if x %}{% endif %}"])
def test_a_template_that_writes_the_date_is_told(in_project, tmp_path, capsys, text):
    file = tmp_path / "own.jinja"
    file.write_text(text)
    data, _ = resolve_datasets(Project.find(), spec_of("base"), MESSAGES)
    chat_template_of(spec_of("base", chat_template=str(file)), in_project / "base", data, in_project)
    assert ("writes the date: the tokens have that of the day on which" in capsys.readouterr().err) == ("now" in text)


@pytest.mark.framework
def test_packing_that_would_mix_samples_is_refused_before_tokens_are_made(in_project, tmp_path, capsys):
    model = shutil.copytree(in_project / "base", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_next"}))
    options = {"model": str(model), "packing": True}
    for refused in (
        lambda: prepare(**SMALL | options, dataset="medqa", backend="xtuner"),
        lambda: ftbridge.tokenize("medqa", **options),
    ):
        with pytest.raises(InputError, match=r"does not keep samples of `qwen3_next` apart: .*; leave `--packing` out"):
            refused()
    assert "making the tokens" not in capsys.readouterr().err


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
@pytest.mark.parametrize(
    "options", [{}, pytest.param({"packing": True, "cutoff_length": 600, "epochs": 4}, marks=pytest.mark.matrix)]
)
@pytest.mark.usefixtures("recorder")
def test_a_resumed_training_on_ready_tokens_goes_on_with_the_same(in_project, trained, monkeypatch, backend, options):
    asked = {**ONCE, "gradient_accumulation_steps": 2, "micro_batch_size": 2, "save_steps": 2}
    asked |= {"lora_dropout": 0.0, **options}
    with monkeypatch.context() as patch:
        patch.setenv("CRASH_AT", "4")  # step 2 is saved
        with pytest.raises(FrameworkError):
            ftbridge.train(**{**SMALL, **asked}, dataset="medqa", backend=backend)
    stopped = all_runs(Project.find())[-1]
    assert stopped.status == "failed"
    run, whole = ftbridge.train(resume=stopped.id), trained(backend=backend, **asked)
    assert (run.id, run.status, len(run.attempts)) == (stopped.id, "succeeded", 2)
    assert run.tokens == stopped.tokens == whole.tokens
    after, unbroken = (
        {record["step"]: record["loss"] for record in ftbridge.runs.losses(each) if "loss" in record}
        for each in (run, whole)
    )
    assert len(unbroken) > 4
    assert after == pytest.approx(unbroken, abs=1e-4)


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
def test_a_dry_run_tells_rows_steps_and_the_chat_template(in_project, packing):
    options = {**SMALL, "dataset": "medqa", "backend": "xtuner", "packing": packing, "cutoff_length": 600, **ONCE}
    ready = prepare(**options)
    told = dict(describe(ready))
    assert told["model"] == "base, with its own chat template"
    rows = ready.plan.tokens.counts.rows
    assert (rows == 21) == (not packing)
    assert told["tokens"].startswith(f"21 samples in {rows} rows, ")
    assert told["steps"].startswith(f"{-(-rows // 4)} optimizer steps")
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
