"""XTuner: a config that no value can turn into other code, and what a run has logged and saved."""

import ast
import json
import subprocess
import typing
import zipfile
from pathlib import Path

import msgspec
import pytest

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.errors import UsageError
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import Optimizer, TrainSpec
from ftbridge.launchers.backends import xtuner
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.templates.families import get_family, load_families
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.ready import Counts, Fingerprint, ReadyTokens, TokenOptions

NASTY = [
    'it\'s a "folder"',
    "'); __import__('os').system('x'); ('",
    "a\nimport os",
    'a"""\n__import__("os")\n"""',
    "a\\",
    "{{ 7 * 7 }}{% if %}{#",
    "{{$HOME:x}} {{_base_.a}}",
    "药品 💊\u2028\x85",
    "a # b",
]


def plan(place="/place", family="qwen2", machine=None, deepspeed=None, validation=False, **spec):
    """Return a plan whose every text is made of `place`."""
    files = {"xtuner": f"{place}.xtuner.jsonl", "alpaca": f"{place}.alpaca.jsonl"}
    entry = DatasetEntry(version="1", files=files, samples=40, sources={}, columns={}, system=place)
    return TrainPlan(
        spec=TrainSpec(backend="xtuner", model=place, dataset=place, **spec),
        run=Path("/runs", place),
        model=Path("/models", place),
        dataset=place,
        dataset_dir=Path("/data", place),
        entry=entry,
        family=get_family(family),
        machine=machine or Devices("cpu", 1, "bfloat16"),
        deepspeed=deepspeed,
        validation=Dataset(place, Path("/data", place), entry) if validation else None,
    )


def config(planned):
    return ast.parse(xtuner.render(planned)[xtuner.CONFIG])


def strings(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def blanked(tree):
    """Return the code with every string emptied: what it does, whatever the values are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def values(tree):
    """Return the source of each top-level assignment."""
    return {node.targets[0].id: ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign)}


@pytest.mark.parametrize("place", NASTY)
def test_xtuner_config_keeps_hostile_names_as_text(place):
    planned = plan(place)
    tree = config(planned)
    wanted = {str(planned.model), str(planned.run / "output"), str(planned.dataset_dir / planned.entry.files["xtuner"])}
    assert wanted <= strings(tree)
    assert blanked(tree) == blanked(config(plan()))


@pytest.mark.parametrize("family", load_families())
def test_every_family_gives_valid_code(family):
    text = values(config(plan(family=family)))["train_dataset"]
    cell = get_family(family).cell("xtuner")
    assert (f"PROMPT_TEMPLATE.{cell.name}" if cell.name else repr(cell.prompt.template_dict())) in text


@pytest.mark.parametrize(
    ("options", "name", "part"),
    [
        ({}, "model", "load_in_4bit=True"),
        ({"method": "lora"}, "model", "lora=dict(type=LoraConfig, r=64, lora_alpha=16"),
        ({"method": "full"}, "model", "torch_dtype=torch.float32"),
        ({"method": "full", "deepspeed": {"a": 1}}, "model", "torch_dtype=torch.bfloat16"),
        ({}, "optim_wrapper", "type=OptimWrapper,"),
        ({"machine": Devices("cuda", 1, "float16")}, "optim_wrapper", "loss_scale='dynamic', dtype='float16'"),
        ({"machine": Devices("cuda", 1, "bfloat16")}, "optim_wrapper", "loss_scale=1.0, dtype='bfloat16'"),
        ({"learning_rate": 2e-05}, "optim_wrapper", "lr=2e-05"),
        ({"gradient_accumulation_steps": 4}, "param_scheduler", "end=5)"),
        ({"scheduler": "linear"}, "param_scheduler", "LinearLR, start_factor=1.0, end_factor=0.0"),
        ({"scheduler": "constant"}, "param_scheduler", "end=17)]"),  # the warm-up alone
        ({"epochs": 0.5}, "train_cfg", "max_iters=20"),
        ({"save_steps": 2, "gradient_accumulation_steps": 8}, "default_hooks", "interval=16, max_keep_ckpts=2"),
        ({"machine": Devices("cpu", 2, "bfloat16")}, "env_cfg", "backend='gloo'"),
        ({"machine": Devices("cuda", 2, "bfloat16")}, "env_cfg", "backend='nccl'"),
        ({"trust_remote_code": True}, "tokenizer", "trust_remote_code=True"),
        ({"seed": 7}, "randomness", "seed=7"),
    ],
)
def test_option_is_written_at_its_place_in_the_xtuner_config(options, name, part):
    assert part in values(config(plan(**options)))[name]


def test_no_adapter_is_made_for_full_training():
    text = values(config(plan(method="full")))["model"]
    assert "lora" not in text
    assert "quantization" not in text


def test_deepspeed_stands_in_a_file_that_is_named():
    planned = plan(deepspeed={"train_batch_size": "auto", "bf16": {"enabled": True}})
    files = xtuner.render(planned)
    assert list(files) == [xtuner.CONFIG, "deepspeed.json"]
    assert json.loads(files["deepspeed.json"]) == {"zero_force_ds_cpu_optimizer": False, "bf16": {"enabled": True}}
    assert xtuner.arguments(planned)[-2:] == ["--deepspeed", str(planned.run / "deepspeed.json")]


def test_set_options_follow_the_config_on_the_command_line():
    run = Path("/runs/place")
    arguments = [str(run / xtuner.CONFIG), "--work-dir", str(run / "output")]
    assert xtuner.arguments(plan("place")) == arguments
    chosen = {"train_cfg.max_iters": "3", "log_level": "a=b"}
    assert xtuner.render(plan("place", set=chosen))
    options = ["--cfg-options", "train_cfg.max_iters=3", "log_level=a=b"]
    assert xtuner.arguments(plan("place", set=chosen)) == arguments + options


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("work_dir", "ftbridge decides that"),
        ("launcher", "ftbridge decides that"),
        ("model.type", "ftbridge decides that"),
        ("train_dataloader.dataset.type", "ftbridge decides that"),
        ("model.llm.__class__", "ftbridge decides that"),
        ("_base_", "ftbridge decides that"),
        ("tokenizer.padding_side", "would change nothing; begin it with `train_dataloader.dataset.`"),
        ("train_cgf.max_iters", "no `train_cgf` .*did you mean `train_cfg`"),
        ("model.lroa.r", "no `lroa` .*did you mean `lora`"),
        ("", "no ``"),
    ],
)
def test_set_option_that_ftbridge_decides_is_refused(key, message):
    with pytest.raises(UsageError, match=message):
        xtuner.render(plan(set={key: "1"}))


@pytest.mark.parametrize("key", ["model.lora.r", "train_dataloader.dataset.max_length", "optim_wrapper.new", "resume"])
def test_set_option_that_the_config_reads_is_accepted(key):
    assert xtuner.render(plan(set={key: "1"}))


def log(run, start, *lines):
    file = run / "output" / start / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines), encoding="utf-8")


def line(iteration, loss):
    return json.dumps({"lr": 1e-4, "data_time": 0.1, "loss": loss, "iter": iteration, "step": iteration})


def read(file):
    yield from map(json.loads, file.read_text().splitlines())


def test_the_log_is_read_in_optimiser_steps_from_all_starts(tmp_path):
    assert list(xtuner.read_log(tmp_path, read, 4)) == []
    log(tmp_path, "20260101_000000", line(4, 3.0), line(8, 2.0))
    log(tmp_path, "20260101_000100", line(8, 1.5), '{"val_loss": 1.2, "step": 8}', '{"lr": 1.0, "iter": 9, "step": 9}')
    assert list(xtuner.read_log(tmp_path, read, 4)) == [
        {"step": 1, "loss": 3.0, "learning_rate": 1e-4},
        {"step": 2, "loss": 2.0, "learning_rate": 1e-4},
        {"step": 2, "loss": 1.5, "learning_rate": 1e-4},
        {"step": 2, "validation_loss": 1.2},
    ]


def archive(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"")
    return path


def test_readable_checkpoints_come_oldest_first(tmp_path):
    assert xtuner.checkpoints(tmp_path) == []
    output = tmp_path / "output"
    good = [archive(output / f"iter_{number}.pth") for number in (500, 1000)]
    archive(output / "iter_80.pth" / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    archive(output / "iter_90.pth" / "mp_rank_00_model_states.pt")
    cut = archive(output / "iter_1500.pth")
    cut.write_bytes(cut.read_bytes()[:-10])
    (output / "iter_2000.pth").mkdir()
    (output / "last_checkpoint").write_text("iter_1500.pth")
    assert xtuner.checkpoints(tmp_path) == [output / "iter_80.pth", output / "iter_90.pth", *good]
    assert xtuner.checkpoints(tmp_path, best=True) == []
    best = archive(output / "best_val_loss_iter_500.pth")
    assert xtuner.checkpoints(tmp_path, best=True) == [best]


@pytest.mark.parametrize(
    ("options", "machine", "message"),
    [
        ({"neftune_alpha": 5.0}, None, "XTuner has no NEFTune.*--backend llamafactory"),
        ({"packing": True, "epochs": 1.5}, None, "whole epochs only, and `epochs` is 1.5"),
    ],
)
def test_option_that_xtuner_lacks_is_refused_by_name(options, machine, message):
    with pytest.raises(UsageError, match=message):
        xtuner.render(plan(machine=machine, deepspeed={"zero_optimization": {"stage": 3}}, **options))


def test_deepspeed_auto_values_are_filled_in_or_left_out():
    config = {"train_batch_size": "auto", "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}}
    text = xtuner.render(plan(deepspeed=config))["deepspeed.json"]
    zero = {"stage": 3, "reduce_bucket_size": 50_000_000}
    assert json.loads(text) == {"zero_force_ds_cpu_optimizer": False, "zero_optimization": zero}


def test_packing_trains_by_epochs_unless_steps_are_given():
    text = values(config(plan(packing=True, epochs=2)))
    assert "max_epochs=2" in text["train_cfg"]
    assert "convert_to_iter_based=True" in text["param_scheduler"]
    text = values(config(plan(packing=True, max_steps=3)))
    assert "max_iters=48" in text["train_cfg"]
    assert "convert_to_iter_based" not in text["param_scheduler"]


@pytest.mark.framework
def test_optimizers_can_be_imported_and_are_named_by_transformers(training_python):
    code = "".join(f"from {module} import {name}; " for module, name, _ in xtuner._OPTIMIZERS.values())
    names = [name for name in xtuner._OPTIMIZERS if name != "adamw"]
    code += f"from transformers.training_args import OptimizerNames; [OptimizerNames(name) for name in {names}]"
    subprocess.run([training_python, "-c", code], check=True)
    assert set(xtuner._OPTIMIZERS) == set(typing.get_args(Optimizer))


@pytest.mark.parametrize("place", NASTY)
def test_validation_config_keeps_hostile_names_as_text(place):
    planned = plan(place, validation=True, track=("tensorboard", "wandb", "swanlab"), early_stopping=2)
    tree = config(planned)
    assert {f"{planned.run}/tracking/{each}" for each in planned.spec.track} <= strings(tree)
    other = plan(validation=True, track=("tensorboard", "wandb", "swanlab"), early_stopping=2)
    assert blanked(tree) == blanked(config(other))


def test_validation_and_early_stopping_are_counted_in_iterations_and_validations():
    options = {"validation_steps": 3, "gradient_accumulation_steps": 4, "save_limit": 1, "early_stopping": 2}
    found = values(config(plan(validation=True, **options)))
    assert "val_interval=12" in found["train_cfg"]
    assert "patience=2" in found["custom_hooks"]
    assert "max_keep_ckpts=1, save_best='val_loss', rule='less'" in found["default_hooks"]
    without = values(config(plan()))
    assert not {"val_cfg", "val_dataloader", "val_evaluator"} & without.keys()
    assert "EarlyStoppingHook" not in without["custom_hooks"]


def test_rate_and_log_of_ready_tokens_go_by_optimiser_steps():
    """As transformers' Trainer: nothing in the first step, the full rate after the warm-up, nothing after the end."""
    options = TokenOptions(cutoff_length=64)
    made = Fingerprint(messages="", tokenizer={}, chat_template="", options=options, code="", version="")
    counts = Counts(conversations=400, rows=400, tokens=9, answer_tokens=9, longest=9)
    agreement = Agreement(samples=20, same=20, readers=())
    tokens = ReadyTokens(folder=Path("/tokens"), fingerprint=made, counts=counts, agreement=agreement)
    planned = plan(epochs=1, gradient_accumulation_steps=4, warmup_ratio=0.1)
    (text,) = xtuner.render(msgspec.structs.replace(planned, family=None, tokens=tokens)).values()
    for line in (
        "dict(type=LinearLR, start_factor=1e-5, by_epoch=False, begin=3, end=44),",
        "dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=False, begin=43, end=403),",
        "train_cfg = dict(type=TokenMeanLoop, accumulation=4, max_iters=400)",
        "interval=20)",
    ):
        assert line in text
