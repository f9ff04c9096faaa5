"""`ftbridge train`: options that are wrong, options that are missing, and the dry run."""

import json
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.cli.train import HEADINGS, command
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project, State
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.environment.checklist import Check

from ..builders.projects import write_project  # noqa: TID252
from ..builders.runs import loss_records, record_run  # noqa: TID252


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Stand in a project with a dataset, a model, and interpreters that are never started."""
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, "device: cpu", samples=40)


def train(*arguments):
    return CliRunner().invoke(cli, ["train", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim"], "`optim` is not KEY=VALUE"),
        (["--gpus", "0"], "`0` is neither a whole number of at least 1 nor `all`"),
        (["--gpus", "-1"], "`-1` is neither a whole number"),
        (["--gpus", "many"], "`many` is neither a whole number"),
        (["--method", "prefix"], "'prefix' is not one of"),
        (["--lora-rank", "big"], "'big' is not a valid integer"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--backend", "xtunre"], "there is no backend `xtunre`; did you mean `xtuner`?"),
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
        (["--model", "base", "--dataset", "faq"], "which framework should train?"),
        (["--backend", "xtuner", "--model", "base"], "there is no dataset yet"),
        (["--backend", "xtuner", "--dataset", "faq"], "which model"),
    ],
)
def test_missing_backend_dataset_or_model_is_wrong_usage(made_up, arguments, message):
    done = train(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert message in str(done.exception)


def test_train_without_options_exits_with_2(run_ftbridge):
    done = run_ftbridge("train")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: several things are missing:\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "faq-trian"], "did you mean `faq-train`"),
        (["--model", "./absent"], "no model folder `./absent`"),
        (["--config", "absent.yaml"], "there is no settings file"),
    ],
)
def test_missing_dataset_model_or_settings_file_is_wrong_input(made_up, arguments, message):
    done = train(
        "--backend", "xtuner", "--dataset", "faq", "--model", "base", *arguments, "--dry-run", "--no-preflight"
    )
    with pytest.raises(InputError, match=message):
        raise done.exception


def test_a_value_out_of_range_is_wrong_usage(made_up):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", "--lora-rank", "0", "--dry-run")
    assert isinstance(done.exception, UsageError), done.output
    assert "`--lora-rank` takes" in str(done.exception)


def dry_run(backend, *arguments):
    dataset = () if "--dataset" in arguments else ("--dataset", "faq")
    done = train("--backend", backend, *dataset, "--model", "base", *arguments, "--dry-run", "--no-preflight")
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def launch_of(backend, *arguments):
    return json.loads(dry_run(backend, *arguments, "--json"))


@pytest.mark.parametrize(("backend", "title"), [("xtuner", "XTuner"), ("llamafactory", "LLaMA-Factory")])
def test_a_dry_run_sums_up_and_starts_nothing(made_up, backend, title):
    before = sorted(made_up.rglob("*"))
    output = dry_run(backend, "--gpus", "2", "--epochs", "1", "--set", "log_level=INFO")
    assert sorted(made_up.rglob("*")) == before
    assert output.splitlines() == [
        "dataset     faq-train, 40 samples",
        "validation  none",
        "steps       2 optimizer steps, 1 of them warm-up",
        "memory      not estimated",
        "runs on     the CPU, 2 processes in float32; DeepSpeed: yes",
        f"backend     {title}",
        "model       base, Qwen 2.5 (trained)",
        "options     --epochs 1 (default: 3)",
        "            --tokens native (default: once)",
        "            --gpus 2 (default: 1)",
        "            --device cpu (default: auto)",
        "            --set log_level=INFO",
        f"run folder  {made_up}/runs/TIME-{backend}-faq-train",
    ]


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_a_dry_run_with_json_is_the_launch_as_a_value(made_up, backend):
    launch = launch_of(backend, "--gpus", "2", "--epochs", "1")
    assert launch["options"]["backend"] == backend
    assert launch["options"]["lora_rank"] == 64
    assert (launch["samples"], launch["steps"]) == (40, 2)
    assert launch["argv"][1].endswith("scripts/distributed.py")
    assert launch["argv"][2] == "--nproc-per-node=2"
    assert launch["env"]["DS_ACCELERATOR"] == "cpu"
    names = [Path(file).name for file in launch["files"]]
    assert names[0].startswith(f"{backend}_config")
    assert {"deepspeed.json", "launch.json"} <= {*names}


@pytest.mark.parametrize("backend", ["xtuner", "llamafactory"])
def test_steps_of_packed_samples_are_called_a_guess(made_up, backend):
    options = ("--packing", "--epochs", "3", "--gradient-accumulation-steps", "1")
    assert "about 3 optimizer steps" in dry_run(backend, *options)
    assert "steps       1 optimizer step," in dry_run(backend, "--max-steps", "1")
    assert "steps       7 optimizer steps" in dry_run(backend, "--packing", "--max-steps", "7")


def test_the_documentation_has_every_option_with_its_default():
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.replace("\\|", "/").splitlines() if line.startswith("| `--")]
    first = reversed(rows)  # a later table may explain an option again
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
    assert "theirs, 7 samples" in dry_run(backend, "--dataset", "theirs")
    files = launch_of(backend, "--dataset", "theirs")["files"]
    assert any(".ftbridge/datasets/theirs-" in text for text in files.values()) == (backend == "xtuner")


def test_options_win_over_settings_over_the_last_conversion(made_up):
    Project.find().remember(State("faq-train", "data", "medqa"))
    with (made_up / "ftbridge.yaml").open("a") as file:
        file.write("model: base\nlora_rank: 8\nepochs: 1\nlearning_rate: 2e-5\nbackend: xtuner\n")
    done = train("--dry-run", "--epochs", "2", "--set", "log_level=a=b", "--set", "seed=1", "--set", "log_level=WARN")
    message = str(done.exception)
    assert "XTuner's config has no `seed`" in message, done.output
    output = train("--dry-run", "--no-preflight", "--epochs", "2", "--set", "log_level=a=b", "--json").stdout
    expected = {"dataset": ["faq-train"], "model": "base", "lora_rank": 8, "epochs": 2.0, "learning_rate": 2e-05}
    options = json.loads(output)["options"]
    assert {name: options[name] for name in expected} == expected
    assert options["set"] == {"log_level": "a=b"}


def test_launch_of_a_dry_run_reads_back_with_its_options(made_up):
    shown = launch_of("llamafactory", "--trust-remote-code", "--set", "optim=adamw_8bit")
    launch = json.loads(next(text for file, text in shown["files"].items() if file.endswith("/launch.json")))
    assert launch["trust_remote_code"] is True
    assert launch["arguments"][1:] == ["optim=adamw_8bit"]
    assert "HF_HUB_OFFLINE" not in shown["env"]


def test_threads_are_what_the_user_says_else_the_cores_we_may_use(made_up, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6))
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert launch_of("xtuner")["env"]["OMP_NUM_THREADS"] == "6"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert launch_of("xtuner")["env"]["OMP_NUM_THREADS"] == "3"


def test_a_dry_run_ends_with_the_pre_flight_and_fails_where_that_does(made_up):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", "--dry-run")
    assert done.exit_code == 1  # which main turns into the error's own
    assert isinstance(done.exception, InputError)
    assert "\npre-flight:\nfailure  model: " in done.output
    assert "see `failure` above" in str(done.exception)


def test_a_dry_run_with_json_has_the_launch_alone_on_stdout_and_the_pre_flight_beside_it(made_up):
    done = train("--backend", "xtuner", "--dataset", "faq", "--model", "base", "--dry-run", "--json")
    assert json.loads(done.stdout)["options"]["backend"] == "xtuner"
    assert "failure  model: " in done.stderr
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize("detach", [False, True])
def test_the_end_of_a_run_is_its_id_or_with_json_its_summary(made_up, monkeypatch, detach):
    run = record_run(Project.find(), "one", metrics=loss_records(3, 2))
    monkeypatch.setattr(
        f"ftbridge.launchers.training.train.{'start_detached' if detach else 'start'}", lambda *_, **__: run
    )
    command = ["--backend", "xtuner", "--dataset", "faq", "--model", "base", *(["--detach"] if detach else [])]
    assert train(*command).stdout == "one\n"
    found = json.loads(train(*command, "--json").stdout)
    assert {name: found[name] for name in ("id", "folder", "status", "loss")} == {
        "id": "one", "folder": str(run.path), "status": "succeeded", "loss": 2,
    }  # fmt: skip


def test_every_option_is_under_one_heading():
    named = " ".join(HEADINGS.values()).split()
    assert sorted(named) == sorted(param.name for param in command.params)


def test_the_memory_of_a_dry_run_is_told_once_with_its_remedy_where_there_is_one(made_up, monkeypatch):
    checks = [
        Check("disk space", "ok", "plenty"),
        Check("memory", "ok", "about 1 GiB"),
        Check("main memory", "ok", "2"),
    ]
    monkeypatch.setattr("ftbridge.launchers.training.train.preflight", lambda _: checks)
    command = ["--backend", "xtuner", "--dataset", "faq", "--model", "base", "--dry-run"]
    said = train(*command).stdout
    assert "\nmemory      about 1 GiB; 2\n" in said
    assert said.endswith("\n\npre-flight:\nok       disk space: plenty\n")
    checks[1] = Check("memory", "warning", "about 9 GiB", "close the browser")
    assert train(*command).stdout.endswith("\nwarning  memory: about 9 GiB\n         -> close the browser\n")
