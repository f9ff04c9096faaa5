"""LLaMA-Factory: a config that holds every value as it is, and what a run has logged and saved."""

import json
from pathlib import Path

import pytest
import yaml

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.errors import UsageError
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends import llamafactory
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.venv import NEWEST
from ftbridge.launchers.hardware.devices import Devices
from ftbridge.templates.families import get_family, load_families

NASTY = [
    "a: b # c",
    "- 'a\"",
    "a\nstage: pt",
    "{{ 7 }}",
    "药品 💊\u2028\x85\x7f",
    "!!python/name:os.system",
    "null",
    "a\\",
]


def plan(name="faq", family="qwen2", environment=NEWEST, **spec):
    others = {key: spec.pop(key, None) for key in ("machine", "deepspeed", "validation")}
    facts = {"version": "1", "sources": {}, "columns": {}, "options": {}, "samples": 40}
    return TrainPlan(
        spec=TrainSpec(backend="llamafactory", model=name, dataset=name, **spec),
        run=Path("/runs") / name,
        model=Path("/models") / name,
        dataset=name,
        dataset_dir=Path("/data") / name,
        entry=DatasetEntry(files={}, **facts),
        family=get_family(family),
        environment=environment,
        **others | {"machine": others["machine"] or Devices("cpu", 1, "bfloat16")},
    )


def config(planned):
    return yaml.safe_load(llamafactory.render(planned)[llamafactory.CONFIG])


@pytest.mark.parametrize("name", NASTY)
def test_llamafactory_config_keeps_hostile_names_as_text(name):
    found = config(plan(name))
    texts = {
        "model_name_or_path": f"/models/{name}",
        "dataset": name,
        "dataset_dir": f"/data/{name}",
        "output_dir": f"/runs/{name}/output",
    }
    assert found == config(plan()) | texts


@pytest.mark.parametrize("family", [name for name, each in load_families().items() if each.backends["llamafactory"]])
def test_every_family_has_its_template(family):
    cell = get_family(family).cell("llamafactory")
    found = config(plan(family=family))
    assert found["template"] == cell.name
    assert found.get("enable_thinking") == cell.enable_thinking


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, {"quantization_bit": 4, "finetuning_type": "lora", "lora_rank": 64, "default_system": ""}),
        ({"method": "lora"}, {"quantization_bit": None, "lora_alpha": 16, "lora_dropout": 0.1}),
        ({"method": "full"}, {"quantization_bit": None, "finetuning_type": "full", "lora_rank": None}),
        ({"deepspeed": {"a": 1}}, {"deepspeed": "/runs/faq/deepspeed.json", "ddp_backend": "gloo"}),
        ({"machine": Devices("cuda", 1, "float16")}, {"bf16": False, "fp16": True, "use_cpu": None}),
        ({}, {"bf16": True, "fp16": False, "use_cpu": True, "deepspeed": None, "ddp_backend": None}),
        ({"learning_rate": 2e-05}, {"learning_rate": 2e-05, "warmup_steps": 1}),
        ({"scheduler": "constant"}, {"lr_scheduler_type": "constant_with_warmup"}),
        ({"scheduler": "linear", "epochs": 0.5}, {"lr_scheduler_type": "linear", "num_train_epochs": 0.5}),
        ({"save_steps": 2, "seed": 7, "cutoff_length": 99}, {"save_steps": 2, "seed": 7, "cutoff_len": 99}),
        ({"trust_remote_code": True}, {"trust_remote_code": True, "stage": "sft", "do_train": True}),
    ],
)
def test_option_is_written_under_its_llamafactory_key(options, part):
    found = config(plan(**options))
    assert {key: found.get(key) for key in part} == part


def test_deepspeed_config_is_written_to_a_file_of_its_own():
    files = llamafactory.render(plan(deepspeed={"train_batch_size": "auto"}))
    assert list(files) == [llamafactory.CONFIG, "deepspeed.json"]
    assert json.loads(files["deepspeed.json"]) == {"train_batch_size": "auto"}


def test_set_options_follow_the_config_on_the_command_line():
    chosen = {"optim": "adamw_8bit", "neftune_noise_alpha": "5"}
    planned = plan(set=chosen)
    assert config(planned) == config(plan())
    file = "/runs/faq/llamafactory_config.yaml"
    assert llamafactory.arguments(planned) == [file, "optim=adamw_8bit", "neftune_noise_alpha=5"]
    assert llamafactory.arguments(plan()) == [file]


@pytest.mark.parametrize("key", ["stage", "do_train", "output_dir", "dataset_dir", "resume_from_checkpoint"])
def test_set_option_that_ftbridge_decides_is_refused(key):
    with pytest.raises(UsageError, match=f"`--set {key}` is not possible: ftbridge decides that"):
        llamafactory.render(plan(set={key: "1"}))


def test_the_log_has_the_steps_that_have_a_loss(tmp_path):
    records = [
        {"current_steps": 1, "total_steps": 9, "loss": 2.0, "lr": 1e-4},
        {"current_steps": 2, "total_steps": 9, "loss": 1.5},
        {"current_steps": 2, "total_steps": 9},
        {"current_steps": 2, "total_steps": 9, "eval_loss": 1.0},
    ]
    logs = {tmp_path / "output" / "trainer_log.jsonl": records}
    assert list(llamafactory.read_log(tmp_path, logs.__getitem__, 4)) == [
        {"step": 1, "loss": 2.0, "learning_rate": 1e-4},
        {"step": 2, "loss": 1.5, "learning_rate": 0.0},
        {"step": 2, "validation_loss": 1.0},
    ]


@pytest.mark.parametrize(
    ("turns", "cutoff_length", "left"),
    [
        ([(10, 2)], 8, [(6, 2)]),
        ([(2, 10)], 8, [(2, 6)]),
        ([(6, 6)], 8, [(4, 4)]),
        ([(3, 1), (10, 10)], 8, [(3, 1), (2, 2)]),
    ],
)
def test_a_cutoff_shortens_question_and_answer(turns, cutoff_length, left):
    assert list(llamafactory.truncate_turns(turns, cutoff_length)) == left


def save(folder, name="adapter_model.safetensors", cut=0):
    folder.mkdir(parents=True, exist_ok=True)
    header = b'{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}'
    whole = len(header).to_bytes(8, "little") + header + b"12"
    (folder / name).write_bytes(whole[: len(whole) - cut])
    return folder


def test_readable_checkpoints_come_oldest_first_and_the_end_last(tmp_path):
    assert llamafactory.checkpoints(tmp_path) == []
    output = tmp_path / "output"
    good = [save(output / f"checkpoint-{number}") for number in (90, 500, 1000)]
    save(output / "checkpoint-1500", cut=1)
    (output / "checkpoint-2000").mkdir()
    assert llamafactory.checkpoints(tmp_path) == good
    assert llamafactory.checkpoints(save(output).parent) == [*good, output]


def test_the_best_is_the_one_with_the_lowest_validation_loss_that_is_still_there(tmp_path):
    output = tmp_path / "output"
    records = [{"current_steps": step, "eval_loss": loss} for step, loss in ((2, 1.0), (4, 3.0), (6, 2.0), (6, 2.0))]
    save(output)
    (output / "trainer_log.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert llamafactory.checkpoints(tmp_path, best=True) == []
    saved = [save(output / f"checkpoint-{step}") for step in (4, 6)]
    assert llamafactory.checkpoints(tmp_path, best=True) == saved[1:]
    lowest = save(output / "checkpoint-2")
    assert llamafactory.checkpoints(tmp_path, best=True) == [lowest]


VALIDATION = Dataset("faq-validation", Path("/data/faq"), plan().entry)


def test_validation_saves_at_each_and_keeps_the_best_beside_the_newest():
    found = config(plan(validation=VALIDATION, save_steps=9, validation_steps=4, save_limit=1, early_stopping=2))
    wanted = {"eval_dataset": "faq-validation", "eval_steps": 4, "save_steps": 4, "save_total_limit": 2}
    assert found.items() >= {**wanted, "early_stopping_steps": 2, "metric_for_best_model": "eval_loss"}.items()
    assert not {"eval_dataset", "eval_strategy", "early_stopping_steps"} & config(plan()).keys()


def test_trackers_write_into_the_runs_folder():
    found = config(plan(track=("tensorboard", "swanlab")))
    assert found["report_to"] == ["tensorboard"]
    assert "logging_dir" not in found  # the folder is told by a variable, which transformers 4 does not know
    older = config(plan(track=("tensorboard",), environment="transformers4"))
    assert older["logging_dir"] == "/runs/faq/tracking/tensorboard"
    assert (found["use_swanlab"], found["swanlab_logdir"]) == (True, "/runs/faq/tracking/swanlab")
    assert config(plan())["report_to"] == config(plan(track=("swanlab",)))["report_to"] == "none"


def test_checkpoint_in_shards_counts_only_when_all_are_whole(tmp_path):
    output = save(tmp_path / "output", "model-00001-of-00002.safetensors")
    save(output, "model-00002-of-00002.safetensors")
    assert llamafactory.checkpoints(tmp_path) == [output]
    save(output, "model-00002-of-00002.safetensors", cut=1)
    assert llamafactory.checkpoints(tmp_path) == []


def test_dora_on_a_quantised_model_is_refused():
    with pytest.raises(UsageError, match=r"refuses DoRA on a quantised model.*--backend xtuner"):
        config(plan(dora=True))
    assert config(plan(dora=True, method="lora"))["use_dora"] is True


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"quantization_bits": 8}, {"quantization_bit": 8}),
        ({"lora_targets": ("q_proj", "v_proj")}, {"lora_target": "q_proj,v_proj"}),
        ({"optimizer": "paged_adamw_8bit", "weight_decay": 0.1}, {"optim": "paged_adamw_8bit", "weight_decay": 0.1}),
        ({"max_steps": 7}, {"max_steps": 7, "warmup_steps": 1}),
        ({"packing": True, "warmup_ratio": 0.1}, {"packing": True, "warmup_steps": 0.1}),
        ({"packing": True, "warmup_ratio": 0.1, "environment": "transformers4"}, {"warmup_ratio": 0.1}),
        ({"gradient_checkpointing": False}, {"disable_gradient_checkpointing": True}),
        ({"attention": "eager"}, {"flash_attn": "disabled"}),
        ({"attention": "flash_attention_2"}, {"flash_attn": "fa2"}),
        ({"neftune_alpha": 5.0}, {"neftune_noise_alpha": 5.0}),
        ({"save_limit": 9, "max_gradient_norm": 0.5}, {"save_total_limit": 9, "max_grad_norm": 0.5}),
    ],
)
def test_every_option_is_written_under_llama_factorys_name(options, part):
    assert part.items() <= config(plan(**options)).items()
