"""LLaMA-Factory's arguments as options of ours."""

import pytest
import yaml

from ftbridge.core.errors import UsageError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.backends.other_configs import llamafactory
from ftbridge.launchers.environment.venv import default_folder

# As LLaMA-Factory's examples for `llamafactory-cli train` are, with the lines that they have commented out.
EXAMPLE = """
model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: qwen3_nothink
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
dataloader_num_workers: 4
output_dir: saves/qwen3-4b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""


def translate(**values):
    return llamafactory.translate_arguments(values)


def test_an_example_becomes_options_and_says_what_has_no_counterpart():
    found = llamafactory.translate_config(yaml.safe_load(EXAMPLE))
    assert found.options == {
        "backend": "llamafactory",
        "model": "Qwen/Qwen3-4B-Instruct-2507",
        "dataset": "identity,alpaca_en_demo",
        "method": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,  # its default is twice the rank
        "lora_dropout": 0.0,
        "cutoff_length": 2048,
        "save_steps": 500,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1e-4,
        "epochs": 3.0,
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "dtype": "bfloat16",
        "validation_steps": 500,
    }
    assert [key.partition(":")[0] for key in found.left_out] == [
        "trust_remote_code",
        "template",
        "max_samples",
        "output_dir",
        "val_size",
    ]
    assert "`--dataset NAME#1000`" in found.left_out["max_samples: 1000"]


def test_what_a_config_leaves_out_means_what_it_means_there():
    found = llamafactory.translate_config({"model_name_or_path": "m"}).options
    assert found["micro_batch_size"] == 8
    assert (found["gradient_accumulation_steps"], found["learning_rate"], found["lora_alpha"]) == (1, 5e-5, 16)
    full = llamafactory.translate_config({"model_name_or_path": "m", "finetuning_type": "full"}).options
    assert full["method"] == "full"
    assert not [name for name in full if name.startswith("lora")]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"finetuning_type": "lora", "quantization_bit": 4}, {"method": "qlora", "quantization_bits": 4}),
        ({"quantization_bit": "8"}, {"method": "qlora", "quantization_bits": 8}),
        ({"lora_target": "q_proj, v_proj"}, {"lora_targets": ("q_proj", "v_proj")}),
        ({"lora_target": ["q_proj"]}, {"lora_targets": ("q_proj",)}),
        ({"lora_target": "all"}, {}),
        ({"optim": "adamw_torch_fused"}, {"optimizer": "adamw"}),
        ({"optim": "paged_adamw_8bit"}, {"optimizer": "paged_adamw_8bit"}),
        ({"lr_scheduler_type": "constant_with_warmup"}, {"scheduler": "constant"}),
        ({"flash_attn": "fa2"}, {"attention": "flash_attention_2"}),
        ({"fp16": "true", "bf16": "false"}, {"dtype": "float16"}),
        ({"report_to": "wandb", "use_swanlab": True}, {"track": ("wandb", "swanlab")}),
        ({"report_to": "none"}, {}),
        ({"deepspeed": "examples/deepspeed/ds_z3_offload_config.json"}, {"deepspeed": "zero3-offload"}),
        ({"deepspeed": "ds_z2_config.json"}, {"deepspeed": "zero2"}),
        ({"mask_history": True, "neat_packing": True}, {"learn": "last", "packing": True}),
        ({"enable_thinking": False}, {"thinking": "off"}),
        ({"disable_gradient_checkpointing": True}, {"gradient_checkpointing": False}),
        ({"max_steps": -1, "save_total_limit": None, "use_unsloth": False, "do_train": True}, {}),
        ({"max_steps": 20}, {"max_steps": 20}),
    ],
)
def test_an_argument_means_an_option(given, options):
    found = translate(**given)
    assert found.options == options
    assert not found.left_out


def test_what_only_llamafactory_has_goes_to_it_where_it_trains():
    more = {"model_name_or_path": "m", "loraplus_lr_ratio": 16.0, "lr_scheduler_type": "polynomial"}
    set_there = {"loraplus_lr_ratio": 16.0, "lr_scheduler_type": "polynomial"}
    assert llamafactory.translate_config(more).options["set"] == set_there
    other = llamafactory.translate_config(more, "xtuner")
    assert "set" not in other.options
    assert [*other.left_out] == ["lr_scheduler_type: polynomial", "loraplus_lr_ratio: 16.0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stage": "dpo"}, "`stage: sft`, not `stage: dpo`"),
        ({"export_dir": "out"}, "use `ftbridge merge`"),
        ({"infer_backend": "huggingface"}, "does not train"),
    ],
)
def test_a_config_that_does_not_train_with_answers_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        llamafactory.translate_config({"model_name_or_path": "m", **given})


@pytest.mark.parametrize(
    ("values", "is_theirs"),
    [
        ({"model_name_or_path": "m"}, True),
        ({"num_train_epochs": 1, "dataset": "a", "lora_rank": 8}, True),
        ({"model": "m", "lora_rank": 8}, False),
        ({"lora_rank": 8, "dataset": "a"}, False),
        ({"model": "m", "num_train_epochs": 1}, False),  # settings of ours with a wrong key
        ({}, False),
    ],
)
def test_a_config_is_known_by_its_keys(values, is_theirs):
    assert llamafactory.is_config(values) is is_theirs


def test_arguments_become_options_that_there_are():
    ours = set(TrainSpec.__struct_fields__)
    assert set(llamafactory._RENAMED.values()) <= ours
    for name, convert in llamafactory._CONVERTED.items():
        for value in ("true", "4", "lora", "cosine", "adamw_torch", "auto", "q_proj", "wandb"):
            assert set(convert(value) or {}) <= ours, name


@pytest.mark.framework
def test_all_arguments_of_the_tables_are_llamafactorys():
    from ftbridge.launchers.backends.llamafactory import setting_names

    folder = next(default_folder().glob("lib/python3*/site-packages"))
    known = setting_names(folder)
    gone = {"evaluation_strategy", "no_cuda", "logging_dir", "save_safetensors", "ray_run_name", "overwrite_output_dir"}
    gone |= {"include_num_input_tokens_seen", "warmup_ratio"}  # by now of older versions
    assert llamafactory.ARGUMENTS - known - gone == set()
