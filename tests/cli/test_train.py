"""`ftbridge train`: options that are wrong, options that are missing, and the dry run."""

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project, State
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.registry import register


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Stand in a project with a dataset, a model, and interpreters that are never started."""
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"device: cpu\nbackends:\n{settings}")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"model_type": "qwen2"}')
    files = {"xtuner": "faq-train.xtuner.jsonl", "alpaca": "faq-train.alpaca.jsonl"}
    entry = DatasetEntry(version="1", files=files, samples=40, sources={"f": "1"}, columns={}, options={})
    register(tmp_path / "data", {"faq-train": entry})
    for name in files.values():
        (tmp_path / "data" / name).write_text("")
    return tmp_path


def train(*arguments):
    return CliRunner().invoke(cli, ["train", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim"], "`optim` is not KEY=VALUE"),
        (["--gpus", "0"], "`0` is no count of at least 1, nor `all`"),
        (["--gpus", "-1"], "`-1` is no count"),
        (["--gpus", "many"], "`many` is no count"),
        (["--method", "prefix"], "'prefix' is not one of"),
        (["--lora-rank", "big"], "'big' is not a valid integer"),
        (["--device", "tpu"], "'tpu' is not one of"),
    ],
)
def test_a_wrong_option_is_wrong_usage(arguments, message):
    done = train(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "choose a framework with `--backend`: llamafactory or xtuner"),
        (["--backend", "xtuner", "--model", "base"], "there is no dataset yet"),
        (["--backend", "xtuner", "--dataset", "faq"], "which model"),
        (["--backend", "xtunre", "--model", "base", "--dataset", "faq"], "no backend `xtunre`"),
    ],
)
def test_what_is_missing_is_wrong_usage_and_says_how(made_up, arguments, message):
    done = train(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert message in str(done.exception)


def test_it_ends_with_the_code_of_wrong_usage(run_ftbridge):
    done = run_ftbridge("train")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: choose a framework")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "faq-trian"], "did you mean `faq-train`"),
        (["--model", "./absent"], "no model folder `./absent`"),
        (["--config", "absent.yaml"], "there is no settings file"),
    ],
)
def test_what_is_not_there_is_wrong_input(made_up, arguments, message):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", *arguments, "--dry-run", "--no-preflight")
    with pytest.raises(InputError, match=message):
        raise done.exception


def test_a_value_out_of_range_is_wrong_usage(made_up):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", "--lora-rank", "0", "--dry-run")
    assert isinstance(done.exception, UsageError), done.output
    assert "lora_rank" in str(done.exception)


def dry_run(backend, *arguments):
    done = train("--backend", backend, "--dataset", "faq", "--model", "base", *arguments, "--dry-run", "--no-preflight")
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_a_dry_run_shows_all_and_starts_nothing(made_up, backend):
    before = sorted(made_up.rglob("*"))
    output = dry_run(backend, "--gpus", "2", "--epochs", "1")
    assert sorted(made_up.rglob("*")) == before
    for part in (
        f"backend: {backend}",
        "lora_rank: 64",
        "40 samples, 2 optimiser steps, 1 of them warm-up",
        "the CPU, 2 processes in float32; DeepSpeed: yes",
        f"{backend}_config",
        "deepspeed.json",
        "--- launch\ncd ",
        "scripts/distributed.py --nproc-per-node=2",
    ):
        assert part in output


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_steps_of_packed_samples_are_called_a_guess(made_up, backend):
    options = ("--packing", "--epochs", "3", "--gradient-accumulation-steps", "1")
    assert "about 3 optimiser steps" in dry_run(backend, *options)
    assert "samples, 7 optimiser steps" in dry_run(backend, "--packing", "--max-steps", "7")


def test_the_documentation_has_every_option_with_its_default():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.replace("\\|", "/").splitlines() if line.startswith("| `--")]
    first = reversed(rows)  # chat's table comes after it
    table = {row[1].split()[0].strip("`").removeprefix("--").replace("-", "_"): row[2] for row in first}
    for field in msgspec.structs.fields(TrainSpec):
        assert field.name in table
        if field.default not in (msgspec.NODEFAULT, None, (), "auto") and field.name not in {"set", "dataset_dir"}:
            shown = {"True": "on", "False": "off", "0.0002": "2e-4"}.get(str(field.default), str(field.default))
            assert shown in table[field.name], field.name


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_a_dataset_that_is_not_ours_is_counted(made_up, backend):
    (made_up / "data" / "dataset_info.json").write_text('{"theirs": {"file_name": "theirs.json"}}')
    record = {"instruction": "why?", "input": "", "output": "so"}
    (made_up / "data" / "theirs.json").write_text(json.dumps([record] * 7))
    output = dry_run(backend, "--dataset", "theirs")
    assert "7 samples" in output
    assert (".ftbridge/datasets/theirs-" in output) == (backend == "xtuner")


def test_options_win_over_settings_over_the_last_conversion(made_up):
    Project.find().remember(State("faq-train", "data", "medqa"))
    with (made_up / "ftbridge.yaml").open("a") as file:
        file.write("model: base\nlora_rank: 8\nepochs: 1\nlearning_rate: 2e-5\nbackend: xtuner\n")
    done = train("--dry-run", "--epochs", "2", "--set", "log_level=a=b", "--set", "seed=1", "--set", "log_level=WARN")
    message = str(done.exception)
    assert "XTuner's config has no `seed`" in message, done.output
    output = train("--dry-run", "--no-preflight", "--epochs", "2", "--set", "log_level=a=b").output
    for line in ("dataset: faq-train", "model: base", "lora_rank: 8", "epochs: 2.0", "learning_rate: 2e-05"):
        assert f"  {line}\n" in output
    assert "log_level=a=b" in output


def test_what_the_launch_says_reads_back(made_up):
    output = dry_run("llamafactory", "--trust-remote-code", "--set", "optim=adamw_8bit")
    launch = json.loads(output.partition("launch.json\n")[2].partition("\n--- launch")[0])
    assert launch["trust_remote_code"] is True
    assert launch["arguments"][1:] == ["optim=adamw_8bit"]
    assert "HF_HUB_OFFLINE" not in output


def test_threads_are_what_the_user_says_else_the_cores_we_may_use(made_up, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6))
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS=6" in dry_run("xtuner")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS=3" in dry_run("xtuner")


def test_a_dry_run_ends_with_the_pre_flight_and_fails_where_that_does(made_up):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", "--dry-run")
    assert done.exit_code == 1  # which main turns into the error's own
    assert isinstance(done.exception, InputError)
    assert "--- pre-flight\nfailure  model: " in done.output
    assert "the remedies stand above" in str(done.exception)
