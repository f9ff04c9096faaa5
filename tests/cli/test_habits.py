"""What people type who know other programs."""

import click
import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.cli.habits import understood
from ftbridge.core.errors import UsageError

train = cli.get_command(None, "train")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--lr 5e-5 --epoch 2", "--learning-rate 5e-5 --epochs 2"),
        ("--learning_rate=5e-5 --dry_run", "--learning-rate=5e-5 --dry-run"),
        ("--model_name_or_path m --per_device_train_batch_size 2", "--model m --micro-batch-size 2"),
        ("--per-device-train-batch-size 2", "--micro-batch-size 2"),
        ("--finetuning_type lora --quantization_bit 4", "--method qlora --quantization-bits 4"),
        ("--lora_target q,v --cutoff_len=9", "--cutoff-length 9 --lora-targets q,v"),
        ("--num_train_epochs 2 --lora-rank 3", "--epochs 2 --lora-rank 3"),
        ("--bf16 --use_dora true", "--dora --dtype bfloat16"),
        ("--packing true --dora false", "--packing --no-dora"),
        ("lf.yaml --lr 1", "--config lf.yaml --learning-rate 1"),
        ("--config lf.yaml", "--config lf.yaml"),
        ("--do_train --plot_loss true --stage sft --dry-run", "--dry-run"),
        ("--set --lr", "--set --lr"),  # the value of an option is none
        ("--lora-rank 3 --unknown 4", "--lora-rank 3 --unknown 4"),
    ],
)
def test_names_of_other_programs_become_ours(typed, meant):
    assert sorted(understood(train, typed.split())) == sorted(meant.split())


def test_what_stands_after_a_double_hyphen_is_left_as_it_is():
    assert understood(train, ["--lr", "1", "--", "--lr"]) == ["--learning-rate", "1", "--", "--lr"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--output_dir x", "`--output_dir` has no counterpart here: a run is written to runs/ID"),
        ("--output-dir=x", "`--output-dir` has no counterpart here: a run is written to runs/ID"),
        ("--val_size 0.1", "`--val_size` has no counterpart here: `ftbridge convert --split 9:1`"),
    ],
)
def test_an_option_without_a_counterpart_is_refused_with_what_to_do(typed, message):
    with pytest.raises(UsageError, match=message):
        understood(train, typed.split())


def test_an_option_without_its_value_is_wrong_usage():
    with pytest.raises(click.UsageError, match="`--model_name_or_path` takes a value"):
        understood(train, ["--model_name_or_path", "--dry-run"])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("run list", "did you mean `runs` or `train` or `recipe`?"),
        ("runs prune --dry-run", "`ftbridge runs prune` shows what would go, and asks before"),
        ("convert --format alpaca", "did you mean `--to`?"),
        ("convert --form alpaca", "did you mean `--to`?"),
        ("convert --target alpaca", "did you mean `--to`?"),
        ("preview --limit 2", "did you mean `--samples`?"),
        ("convert a.csv --on-error skpi", "did you mean `skip`?"),
        ("serve", "did you mean `ftbridge chat --web`?"),
        ("deploy", "did you mean `ftbridge merge` or `ftbridge chat --web`?"),
        ("sft", "did you mean `train`?"),
        ("infer", "did you mean `chat` or `predict`?"),
        ("eval", "did you mean `evaluate`?"),
        ("runs rm", "did you mean `prune`?"),
        ("runs ls", "did you mean `list`?"),
        ("train --bs 4", "there is no option `--bs`; did you mean `--micro-batch-size`?"),
        ("train --warmup_steps 4", "use `--warmup-ratio`, a share"),
        ("train --unheard-of 4", "`--set KEY=VALUE` passes one of the framework's own"),
        ("chat --adapter_name_or_path x", "name the folder of the adapter: `ftbridge chat DIR`"),
        ("predict --metrics x", "there is no option `--metrics`: `ftbridge evaluate` answers and measures"),
        ("evaluate --questions x", "`ftbridge predict --questions FILE` answers the questions of a file; to measure"),
        ("chat --max-tokens 4", "did you mean `--max-new-tokens`?"),
        ("inspect --unheard-of x", "there is no option `--unheard-of`"),
    ],
)
def test_an_unknown_word_is_answered_by_its_meaning(typed, message):
    done = CliRunner().invoke(cli, typed.split())
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("name", ["LLaMA-Factory", "llama_factory", "llamafactory"])
def test_a_backend_is_known_in_any_spelling(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["train", "--backend", name])
    assert "framework" not in str(done.exception)
