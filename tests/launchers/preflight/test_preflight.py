"""The pre-flight: all is well, each failure provoked, light and quick."""

import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import msgspec
import pytest

from ftbridge.adapters.registered.dataset import Dataset, resolve_dataset
from ftbridge.core.errors import InputError
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.launchers.hardware.host import GIB
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.preflight.preflight import (
    import_checks,
    preflight_checks,
    refuse_failures,
    trained_parameters,
)
from ftbridge.templates.families import get_family

from ...builders.environments import torch_environment  # noqa: TID252
from ...builders.models import write_model  # noqa: TID252
from ...builders.plans import plan_of_files, turn  # noqa: TID252


@pytest.fixture
def well(tmp_path):
    """Return a plan in which nothing is wrong, and the interpreter of an environment that holds the tested versions."""
    (tmp_path / "lib" / "python3.11" / "site-packages" / "transformers-4.57.1.dist-info").mkdir(parents=True)
    samples = [json.dumps({"conversation": [turn(5, 5)]})] * 100
    (tmp_path / "faq.jsonl").write_text("\n".join(samples))
    planned = plan_of_files(tmp_path, 100, {"xtuner": "faq.jsonl"})
    return msgspec.structs.replace(planned, model=write_model(tmp_path / "base"))


def checks(plan):
    folder = plan.dataset_dir
    return {check.name: check for check in preflight_checks(plan, folder / "bin" / "python", folder / "runs")}


def poor(plan):
    return {name: check for name, check in checks(plan).items() if check.status != "ok"}


def with_spec(plan, **spec):
    return msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, **spec))


def test_preflight_of_a_whole_plan_finds_nothing_wrong(well):
    assert poor(well) == {}
    assert list(checks(well)) == [
        *("model", "tokenizer", "dataset", "cutoff length", "steps", "options", "disk space", "memory")
    ]


def test_how_much_is_trained_is_only_told_where_it_is_known(well):
    python = well.dataset_dir / "bin" / "python"
    trained, parameters = trained_parameters(well, python)
    assert 0 < trained < parameters
    whole = with_spec(well, method="full")
    assert trained_parameters(whole, python) == (parameters - trained,) * 2
    file = well.model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"bits": 4}}))
    assert trained_parameters(well, python) == (0, 0)
    file.unlink()
    assert trained_parameters(well, python) == (0, 0)


@pytest.mark.slow
def test_preflight_of_much_data_takes_less_than_three_seconds(well):
    sample = json.dumps({"conversation": [turn(500, 500)]}) + "\n"
    (well.dataset_dir / "faq.jsonl").write_text(sample * 10_000)
    start = time.process_time()
    assert poor(well) == {}
    assert time.process_time() - start < 3


def test_preflight_starts_no_process_and_imports_no_framework(well, tmp_path):
    """Where `torch` and `transformers` would be imported, these fail."""
    script = """
import subprocess, sys
from pathlib import Path
import msgspec
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.preflight.preflight import preflight_checks
subprocess.Popen = None
plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TrainPlan, dec_hook=lambda kind, value: kind(value))
folder = plan.dataset_dir
checks = preflight_checks(plan, folder / "bin" / "python", folder / "runs")
assert [check.status for check in checks] == ["ok"] * 8, checks
print([name for name in ("torch", "transformers", "datasets", "pyarrow", "numpy") if name in sys.modules])
"""
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(well, enc_hook=str))
    argv = [sys.executable, "-c", script, tmp_path / "plan.json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_damaged_model_fails_and_the_rest_is_looked_at(well):
    (well.model / "model.safetensors").write_bytes(b"123")
    found = poor(well)
    assert found.keys() == {"model"}
    assert "is incomplete" in found["model"].found
    assert "memory" not in checks(well)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_config_that_cannot_be_read_fails(well, content):
    file = well.model / "config.json"
    file.unlink() if content is None else file.write_text(content)
    assert poor(well)["model"].status == "failure"


def test_a_damaged_tokenizer_fails(well):
    (well.model / "tokenizer.json").write_text("{}")
    assert poor(well).keys() == {"tokenizer"}


def test_data_that_is_gone_or_empty_fails(well):
    (well.dataset_dir / "faq.jsonl").write_text("")
    assert poor(well)["dataset"].status == "failure"
    (well.dataset_dir / "faq.jsonl").unlink()
    assert "its file is missing" in poor(well)["dataset"].found


def test_data_that_was_edited_is_a_warning_and_so_is_edited_validation(well):
    told = "`faq.jsonl` has been changed since ftbridge wrote it: it holds 99 samples, and 100 were converted"
    found = poor(msgspec.structs.replace(well, edited=told))
    assert (list(found), found["dataset"].status) == (["dataset"], "warning")
    assert found["dataset"].found == f"`{well.dataset}`: {told}"
    other = Dataset("v", well.dataset_dir, well.entry, edited=told)
    found = poor(msgspec.structs.replace(well, validation=other))
    assert (list(found), found["validation dataset"].found) == (["validation dataset"], f"`v`: {told}")


def test_data_that_holds_no_sample_fails(well):
    (well.dataset_dir / "faq.jsonl").write_text('{"conversation": []}\n')
    assert poor(well)["cutoff length"].found == "no sample of the data can be read"


TOOLS = '[{"name": "look", "description": "' + "w " * 50 + '"}]'
CALLED = [
    {"from": "human", "value": "w"},
    {"from": "function_call", "value": '{"name": "look", "arguments": {}}'},
    {"from": "observation", "value": "w"},
    {"from": "gpt", "value": "w"},
]


@pytest.mark.parametrize("tools", [TOOLS, json.loads(TOOLS), "[]", None])
def test_samples_with_tools_are_samples_for_llamafactory(well, tools):
    columns = {"messages": "conversations", "tools": "tools"}
    info = {"faq": {"file_name": "faq.json", "formatting": "sharegpt", "columns": columns}}
    (well.dataset_dir / "dataset_info.json").write_text(json.dumps(info))
    records = [{"conversations": CALLED if tools else CALLED[::3], "tools": tools}] * 3
    (well.dataset_dir / "faq.json").write_text(json.dumps(records))
    own = resolve_dataset(well.dataset_dir, "faq", "", well.dataset_dir / "cache").entry
    planned = msgspec.structs.replace(with_spec(well, backend="llamafactory"), entry=own, dataset="faq")
    found = checks(planned)["cutoff length"]
    assert found.status == "ok"
    assert found.found.startswith("of 3 samples checked")
    assert (int(found.found.split("about ")[1].split()[0]) > 50) is bool(tools and tools != "[]")


@pytest.mark.parametrize(
    ("backend", "family", "expected"),
    [
        ("xtuner", "qwen3", "Qwen 3 is trained with thinking off, and XTuner trains on them behind"),
        ("llamafactory", "qwen3", "Qwen 3 is trained with thinking off, and LLaMA-Factory drops those"),
        ("xtuner", "qwen2.5", "Qwen 2.5 has no thinking, so they are trained on as text"),
    ],
)
def test_thoughts_and_placeholders_are_warned_of_with_their_number(well, backend, family, expected):
    turns = [{"system": "", "input": "<image>", "output": "<think>hm</think>w"}, turn(1, 1)]
    lines = [json.dumps({"conversation": turns if number < 3 else turns[1:]}) for number in range(10)]
    (well.dataset_dir / "faq.xtuner.jsonl").write_text("\n".join(lines))
    rows = [{"instruction": "<image>", "input": "", "output": "<think>hm</think>w"}] * 3
    rows += [{"instruction": "w", "input": "", "output": "w"}] * 7
    (well.dataset_dir / "faq.json").write_text(json.dumps(rows))
    entries = {name: {"file_name": "faq.json"} for name in (well.dataset, "faq-validation")}
    (well.dataset_dir / "dataset_info.json").write_text(json.dumps(entries))
    own = msgspec.structs.replace(well.entry, files={"xtuner": "faq.xtuner.jsonl"})
    changed = {
        "family": get_family(family),
        "entry": own,
        "validation": Dataset("faq-validation", well.dataset_dir, own),
    }
    planned = msgspec.structs.replace(with_spec(well, backend=backend), **changed)
    found = [check for name, check in checks(planned).items() if name in {"thoughts", "image marks"}]
    assert [(check.name, check.status) for check in found] == [("thoughts", "warning"), ("image marks", "warning")]
    assert found[0].found.startswith(f"of 10 samples checked, 3 answers hold `<think>`: {expected}")
    assert found[1].found.startswith("of 10 samples checked, 3 hold `<image>`: ")


def test_answers_that_would_be_cut_are_counted(well):
    lines = [json.dumps({"conversation": [turn(5, length)]}) for length in (5, 5, 5, 50)]
    (well.dataset_dir / "faq.jsonl").write_text("\n".join(lines))
    found = poor(with_spec(well, cutoff_length=20))["cutoff length"]
    assert found.status == "warning"
    assert "1 (25.0%) answers are cut, 0 of them entirely" in found.found
    assert "--cutoff-length 59" in found.remedy
    assert poor(with_spec(well, cutoff_length=59)) == {}
    assert poor(with_spec(well, cutoff_length=3))["cutoff length"].status == "failure"


def test_a_training_that_is_all_warm_up_is_a_warning(well):
    found = poor(with_spec(well, epochs=1, gradient_accumulation_steps=100))
    assert (found.keys(), found["steps"].status) == ({"steps"}, "warning")


def test_too_little_disk_for_checkpoints_is_a_failure(well, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    found = poor(well)
    assert found.keys() == {"disk space"}
    assert found["disk space"].status == "failure"
    assert "--lora-rank" in found["disk space"].remedy
    assert "--lora-rank" not in poor(with_spec(well, method="full"))["disk space"].remedy


def test_the_validation_data_must_be_there_and_not_empty(well, tmp_path):
    files = {"xtuner": "other.jsonl"}
    other = Dataset("faq-validation", well.dataset_dir, msgspec.structs.replace(well.entry, files=files))
    validated = msgspec.structs.replace(well, validation=other)
    assert "its file is missing" in poor(validated)["validation dataset"].found
    (well.dataset_dir / "other.jsonl").write_text("")
    assert "its file is empty" in poor(validated)["validation dataset"].found
    (well.dataset_dir / "other.jsonl").write_text("{}")
    assert checks(validated)["validation dataset"].status == "ok"


def test_failed_check_is_refused_with_its_remedy_and_warnings_are_printed(capsys):
    refuse_failures([Check("a", "ok", "fine"), Check("b", "warning", "poor", "mend it")])
    assert capsys.readouterr().err == "warning  b: poor\n         -> mend it\n"
    with pytest.raises(InputError, match=r"(?s)failure  c: broken\n +-> repair it\n.*--no-preflight"):
        refuse_failures([Check("c", "failure", "broken", "repair it")])


def test_the_card_is_judged_by_the_torch_that_the_backend_uses(well, tmp_path):
    card = Devices("cuda", 1, "float16", (Gpu("Tesla P100", 16280, 6.0, "570.86", free=16000),))
    on_card = msgspec.structs.replace(well, machine=card)
    python = torch_environment(tmp_path / "own")
    found = {
        check.name: check for check in preflight_checks(on_card, python, tmp_path / "runs") if check.status == "failure"
    }
    assert found.keys() == {"GPU"}
    assert "no code for this card" in found["GPU"].remedy


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "looked"), [(1, False), (2, True)])
def test_shared_memory_is_looked_at_for_several_gpus(well, tmp_path, monkeypatch, processes, looked):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * GIB, total=64 * 1024**2))
    cards = (Gpu("A100", 81920, 8.0, "570.86", free=80000),) * processes
    on_cards = msgspec.structs.replace(well, machine=Devices("cuda", processes, "bfloat16", cards))
    found = {
        check.name: check
        for check in preflight_checks(on_cards, torch_environment(tmp_path / "own"), tmp_path / "runs")
    }
    assert ("shared memory" in found) is looked
    if looked:
        assert (found["shared memory"].status, "--shm-size" in found["shared memory"].remedy) == ("warning", True)


@pytest.mark.parametrize(
    ("installed", "options", "found"),
    [
        ((), {"method": "lora"}, []),
        ((), {"method": "lora", "optimizer": "adamw_8bit"}, ["bitsandbytes"]),
        ((), {}, ["bitsandbytes"]),
        (("deepspeed",), {"method": "lora"}, ["deepspeed"]),
        (("deepspeed", "bitsandbytes"), {"method": "lora"}, ["bitsandbytes", "deepspeed"]),
    ],
)
def test_package_that_a_training_needs_and_cannot_import_fails(well, tmp_path, monkeypatch, installed, options, found):
    for name in installed:
        (tmp_path / "lib" / "python3.11" / "site-packages" / f"{name}-1.0.dist-info").mkdir()
    errors = {"deepspeed": "MissingCUDAException: no nvcc", "bitsandbytes": "OSError: libcudart"}
    monkeypatch.setattr("ftbridge.launchers.preflight.preflight.broken_imports", lambda *_: errors)
    checks = import_checks(with_spec(well, **options), tmp_path / "bin" / "python")
    assert sorted(check.name for check in checks) == found
    assert {check.status for check in checks} <= {"failure"}


def test_deepspeed_is_needed_where_it_is_used(well, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ftbridge.launchers.preflight.preflight.broken_imports", lambda *_: {"deepspeed": "ModuleNotFoundError"}
    )
    used = msgspec.structs.replace(well, deepspeed={"zero_optimization": {"stage": 2}})
    (check,) = import_checks(used, tmp_path / "bin" / "python")
    assert (check.name, check.found) == ("deepspeed", "cannot be imported: ModuleNotFoundError")


def test_places_of_a_deepspeed_file_outside_the_run_are_told(well):
    used = msgspec.structs.replace(well, deepspeed={"flops_profiler": {"output_file": "/else/flops.txt"}})
    check = poor(used)["DeepSpeed"]
    assert check.status == "warning"
    assert "outside the run's folder, to be read or written: `flops_profiler.output_file` (`/else/fl" in check.found
    inside = msgspec.structs.replace(well, deepspeed={"flops_profiler": {"output_file": "flops.txt"}})
    assert "DeepSpeed" not in poor(inside)


def test_an_interpreter_that_does_not_start_is_a_failure(well, tmp_path):
    (check,) = import_checks(well, tmp_path / "bin" / "python")
    assert (check.name, check.status) == ("environment", "failure")
